"""tables of delivery."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "attempts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("delivery", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("confirmed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="delivery",
    )
    op.create_index(
        op.f("ix_delivery_attempts_delivery"), "attempts", ["delivery"], unique=False, schema="delivery"
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("share", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("directory_version", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ae_title", sa.Text(), server_default="", nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_by", sa.Text(), nullable=True),
        sa.Column("parts", sa.Integer(), nullable=True),
        sa.Column("expected", sa.Integer(), nullable=True),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("receipt_revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("receipt_due", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("withdrawn", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("cancelled", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="delivery",
    )
    op.create_index(
        "ix_deliveries_destination",
        "deliveries",
        ["recipient", "endpoint", "state"],
        unique=False,
        schema="delivery",
    )
    op.create_index(
        "ix_deliveries_due", "deliveries", ["state", "next_attempt_at"], unique=False, schema="delivery"
    )
    op.create_index(
        "ix_deliveries_lease",
        "deliveries",
        ["lease_until"],
        unique=False,
        schema="delivery",
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(
        op.f("ix_delivery_deliveries_share"), "deliveries", ["share"], unique=False, schema="delivery"
    )
    op.create_table(
        "destinations",
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("recipient", "endpoint"),
        schema="delivery",
    )
    op.create_table(
        "inbox",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        schema="delivery",
    )
    op.create_index("inbox_at", "inbox", ["at"], unique=False, schema="delivery", postgresql_using="brin")
    op.create_table(
        "instances",
        sa.Column("delivery", sa.Uuid(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("transfer_syntax", sa.Text(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("delivery", "sop_instance_uid"),
        schema="delivery",
    )
    op.create_index(
        "ix_instances_waiting", "instances", ["delivery", "state"], unique=False, schema="delivery"
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
        schema="delivery",
    )
    op.create_index(
        "outbox_cursor",
        "outbox",
        ["cursor"],
        unique=True,
        schema="delivery",
        postgresql_where=sa.text("cursor IS NOT NULL"),
    )
    op.create_index(
        "outbox_waiting",
        "outbox",
        ["seq"],
        unique=False,
        schema="delivery",
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
        schema="delivery",
    )
    op.create_index("parked_key", "parked", ["consumer", "topic", "key"], unique=False, schema="delivery")
    op.create_table(
        "parts",
        sa.Column("delivery", sa.Uuid(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("delivery", "part"),
        schema="delivery",
    )
    op.create_table(
        "receipts",
        sa.Column("delivery", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("share", sa.Uuid(), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("delivery", "revision"),
        schema="delivery",
    )
    op.create_index(
        op.f("ix_delivery_receipts_share"), "receipts", ["share"], unique=False, schema="delivery"
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index(op.f("ix_delivery_receipts_share"), table_name="receipts", schema="delivery")
    op.drop_table("receipts", schema="delivery")
    op.drop_table("parts", schema="delivery")
    op.drop_index("parked_key", table_name="parked", schema="delivery")
    op.drop_table("parked", schema="delivery")
    op.drop_index(
        "outbox_waiting",
        table_name="outbox",
        schema="delivery",
        postgresql_where=sa.text("published_at IS NULL"),
    )
    op.drop_index(
        "outbox_cursor",
        table_name="outbox",
        schema="delivery",
        postgresql_where=sa.text("cursor IS NOT NULL"),
    )
    op.drop_table("outbox", schema="delivery")
    op.drop_index("ix_instances_waiting", table_name="instances", schema="delivery")
    op.drop_table("instances", schema="delivery")
    op.drop_index("inbox_at", table_name="inbox", schema="delivery", postgresql_using="brin")
    op.drop_table("inbox", schema="delivery")
    op.drop_table("destinations", schema="delivery")
    op.drop_index(op.f("ix_delivery_deliveries_share"), table_name="deliveries", schema="delivery")
    op.drop_index(
        "ix_deliveries_lease",
        table_name="deliveries",
        schema="delivery",
        postgresql_where=sa.text("state = 'running'"),
    )
    op.drop_index("ix_deliveries_due", table_name="deliveries", schema="delivery")
    op.drop_index("ix_deliveries_destination", table_name="deliveries", schema="delivery")
    op.drop_table("deliveries", schema="delivery")
    op.drop_index(op.f("ix_delivery_attempts_delivery"), table_name="attempts", schema="delivery")
    op.drop_table("attempts", schema="delivery")
