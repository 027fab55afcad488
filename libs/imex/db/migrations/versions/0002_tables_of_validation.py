"""tables of validation."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "inbox",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        schema="validation",
    )
    op.create_index("inbox_at", "inbox", ["at"], unique=False, schema="validation", postgresql_using="brin")
    op.create_table(
        "instances",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source", "sop_instance_uid"),
        schema="validation",
    )
    op.create_table(
        "judgements",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("association", sa.Uuid(), nullable=False),
        sa.Column("judgement", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        schema="validation",
    )
    op.create_index(
        "ix_judgements_instance",
        "judgements",
        ["source", "sop_instance_uid"],
        unique=False,
        schema="validation",
    )
    op.create_index(
        "ix_judgements_study",
        "judgements",
        ["source", "study_uid", "association"],
        unique=False,
        schema="validation",
    )
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
        schema="validation",
    )
    op.create_index(
        "outbox_cursor",
        "outbox",
        ["cursor"],
        unique=True,
        schema="validation",
        postgresql_where=sa.text("cursor IS NOT NULL"),
    )
    op.create_index(
        "outbox_waiting",
        "outbox",
        ["seq"],
        unique=False,
        schema="validation",
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
        schema="validation",
    )
    op.create_index("parked_key", "parked", ["consumer", "topic", "key"], unique=False, schema="validation")
    op.create_table(
        "persons",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=False),
        sa.Column("birth_date", sa.Text(), nullable=False),
        sa.Column("sex", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "patient_id"),
        schema="validation",
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("releasable", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("event", sa.LargeBinary(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decision_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="validation",
    )
    op.create_index(
        "ix_quarantine_instance",
        "quarantine",
        ["source", "sop_instance_uid"],
        unique=False,
        schema="validation",
    )
    op.create_index(
        "ix_quarantine_study", "quarantine", ["source", "study_uid"], unique=False, schema="validation"
    )
    op.create_index(
        op.f("ix_validation_quarantine_created_at"),
        "quarantine",
        ["created_at"],
        unique=False,
        schema="validation",
    )
    op.create_table(
        "studies",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=False),
        sa.Column("birth_date", sa.Text(), nullable=False),
        sa.Column("sex", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source", "study_uid"),
        schema="validation",
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("studies", schema="validation")
    op.drop_index(op.f("ix_validation_quarantine_created_at"), table_name="quarantine", schema="validation")
    op.drop_index("ix_quarantine_study", table_name="quarantine", schema="validation")
    op.drop_index("ix_quarantine_instance", table_name="quarantine", schema="validation")
    op.drop_table("quarantine", schema="validation")
    op.drop_table("persons", schema="validation")
    op.drop_index("parked_key", table_name="parked", schema="validation")
    op.drop_table("parked", schema="validation")
    op.drop_index(
        "outbox_waiting",
        table_name="outbox",
        schema="validation",
        postgresql_where=sa.text("published_at IS NULL"),
    )
    op.drop_index(
        "outbox_cursor",
        table_name="outbox",
        schema="validation",
        postgresql_where=sa.text("cursor IS NOT NULL"),
    )
    op.drop_table("outbox", schema="validation")
    op.drop_index("ix_judgements_study", table_name="judgements", schema="validation")
    op.drop_index("ix_judgements_instance", table_name="judgements", schema="validation")
    op.drop_table("judgements", schema="validation")
    op.drop_table("instances", schema="validation")
    op.drop_index("inbox_at", table_name="inbox", schema="validation", postgresql_using="brin")
    op.drop_table("inbox", schema="validation")
