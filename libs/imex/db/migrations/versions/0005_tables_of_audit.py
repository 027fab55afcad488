"""tables of audit."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "chains",
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("partition"),
        schema="audit",
    )
    op.create_table(
        "checkpoints",
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("heads", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        schema="audit",
        info={"append_only": True},
    )
    op.create_table(
        "inbox",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        schema="audit",
    )
    op.create_index("inbox_at", "inbox", ["at"], unique=False, schema="audit", postgresql_using="brin")
    op.create_table(
        "outbox",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column(
            "headers",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="object of header name to text",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cursor", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        schema="audit",
    )
    op.create_index(
        "outbox_cursor",
        "outbox",
        ["cursor"],
        unique=True,
        schema="audit",
        postgresql_where=sa.text("cursor IS NOT NULL"),
    )
    op.create_index(
        "outbox_waiting",
        "outbox",
        ["seq"],
        unique=False,
        schema="audit",
        postgresql_where=sa.text("published_at IS NULL"),
    )
    op.create_table(
        "parked",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False, comment="the consumer group that parked it"),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("timestamp_ms", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column(
            "headers",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="array of [name, base64 of the value]",
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("parked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("consumer", "topic", "partition", "offset", name="parked_record"),
        schema="audit",
    )
    op.create_index("parked_key", "parked", ["consumer", "topic", "key"], unique=False, schema="audit")
    op.create_table(
        "personal",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("event_id", "field"),
        schema="audit",
    )
    op.create_table(
        "records",
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("institutions", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=True),
        sa.Column("share", sa.Uuid(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("partition", "sequence"),
        sa.UniqueConstraint("event_id"),
        schema="audit",
        info={"append_only": True},
    )
    op.create_index(op.f("ix_audit_records_at"), "records", ["at"], unique=False, schema="audit")
    op.create_index(op.f("ix_audit_records_share"), "records", ["share"], unique=False, schema="audit")
    op.create_index(
        op.f("ix_audit_records_study_uid"), "records", ["study_uid"], unique=False, schema="audit"
    )
    op.create_index(
        "ix_records_institutions",
        "records",
        ["institutions"],
        unique=False,
        schema="audit",
        postgresql_using="gin",
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_records_institutions", table_name="records", schema="audit", postgresql_using="gin")
    op.drop_index(op.f("ix_audit_records_study_uid"), table_name="records", schema="audit")
    op.drop_index(op.f("ix_audit_records_share"), table_name="records", schema="audit")
    op.drop_index(op.f("ix_audit_records_at"), table_name="records", schema="audit")
    op.drop_table("records", schema="audit")
    op.drop_table("personal", schema="audit")
    op.drop_index("parked_key", table_name="parked", schema="audit")
    op.drop_table("parked", schema="audit")
    op.drop_index(
        "outbox_waiting",
        table_name="outbox",
        schema="audit",
        postgresql_where=sa.text("published_at IS NULL"),
    )
    op.drop_index(
        "outbox_cursor", table_name="outbox", schema="audit", postgresql_where=sa.text("cursor IS NOT NULL")
    )
    op.drop_table("outbox", schema="audit")
    op.drop_index("inbox_at", table_name="inbox", schema="audit", postgresql_using="brin")
    op.drop_table("inbox", schema="audit")
    op.drop_table("checkpoints", schema="audit")
    op.drop_table("chains", schema="audit")
