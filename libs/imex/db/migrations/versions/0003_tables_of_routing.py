"""tables of routing."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "associations",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("association", sa.Uuid(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("source", "study_uid", "association"),
        schema="routing",
    )
    op.create_table(
        "command_results",
        sa.Column("command_id", sa.Uuid(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("share", sa.Uuid(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("command_id", "recipient"),
        schema="routing",
    )
    op.create_table(
        "held",
        sa.Column("quarantine", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), server_default="", nullable=False),
        sa.Column("sop_class_uid", sa.Text(), server_default="", nullable=False),
        sa.Column("body_part", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("quarantine"),
        schema="routing",
    )
    op.create_index("ix_held_study", "held", ["source", "study_uid"], unique=False, schema="routing")
    op.create_table(
        "inbox",
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        schema="routing",
    )
    op.create_index("inbox_at", "inbox", ["at"], unique=False, schema="routing", postgresql_using="brin")
    op.create_table(
        "instances",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("transfer_syntax", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("directory_version", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "validated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("source", "sop_instance_uid"),
        schema="routing",
    )
    op.create_index(
        "ix_instances_study", "instances", ["source", "study_uid"], unique=False, schema="routing"
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
        schema="routing",
    )
    op.create_index(
        "outbox_cursor",
        "outbox",
        ["cursor"],
        unique=True,
        schema="routing",
        postgresql_where=sa.text("cursor IS NOT NULL"),
    )
    op.create_index(
        "outbox_waiting",
        "outbox",
        ["seq"],
        unique=False,
        schema="routing",
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
        schema="routing",
    )
    op.create_index("parked_key", "parked", ["consumer", "topic", "key"], unique=False, schema="routing")
    op.create_table(
        "repeats",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        schema="routing",
    )
    op.create_index("ix_repeats_study", "repeats", ["source", "study_uid"], unique=False, schema="routing")
    op.create_table(
        "share_instances",
        sa.Column("share", sa.Uuid(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("share", "sop_instance_uid"),
        schema="routing",
    )
    op.create_table(
        "shares",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("episode", sa.Integer(), nullable=False),
        sa.Column("passage", sa.Integer(), server_default="1", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=True),
        sa.Column("agreement", sa.Text(), nullable=True),
        sa.Column("legal_basis", sa.Text(), nullable=True),
        sa.Column("directory_version", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("quiet_s", sa.Integer(), nullable=True),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.Column("sequence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("complete", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("delivery_revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("parts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("handed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("confirmed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("receipt_digest", sa.Text(), nullable=True),
        sa.Column("receipt_revision", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_image_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("source", "study_uid", "recipient", "purpose", "episode"),
        schema="routing",
    )
    op.create_index(
        op.f("ix_routing_shares_command_id"), "shares", ["command_id"], unique=False, schema="routing"
    )
    op.create_index(
        op.f("ix_routing_shares_created_at"), "shares", ["created_at"], unique=False, schema="routing"
    )
    op.create_index(
        op.f("ix_routing_shares_updated_at"), "shares", ["updated_at"], unique=False, schema="routing"
    )
    op.create_index(
        "ix_shares_expiry",
        "shares",
        ["expires_at"],
        unique=False,
        schema="routing",
        postgresql_where=sa.text("state IN ('requested', 'accepted', 'collecting', 'delivering')"),
    )
    op.create_index(
        "ix_shares_recipient", "shares", ["recipient", "updated_at"], unique=False, schema="routing"
    )
    op.create_table(
        "studies",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("modalities", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("sop_classes", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("body_parts", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("recipients", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("standing", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("called_ae", sa.Text(), server_default="", nullable=False),
        sa.Column("patient_id", sa.Text(), server_default="", nullable=False),
        sa.Column("issuer", sa.Text(), server_default="", nullable=False),
        sa.Column("patient_name", sa.Text(), server_default="", nullable=False),
        sa.Column("birth_date", sa.Text(), server_default="", nullable=False),
        sa.Column("accession", sa.Text(), server_default="", nullable=False),
        sa.Column("study_date", sa.Text(), server_default="", nullable=False),
        sa.Column("study_description", sa.Text(), server_default="", nullable=False),
        sa.Column("series_descriptions", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("received", sa.Integer(), server_default="0", nullable=False),
        sa.Column("validated", sa.Integer(), server_default="0", nullable=False),
        sa.Column("waiting", sa.Integer(), server_default="0", nullable=False),
        sa.Column("discarded", sa.Integer(), server_default="0", nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("passage", sa.Integer(), server_default="1", nullable=False),
        sa.Column("evaluated_version", sa.Text(), server_default="", nullable=False),
        sa.Column("first_received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_validated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_activity_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("root_exported_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stuck", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("source", "study_uid"),
        schema="routing",
    )
    op.create_index(
        op.f("ix_routing_studies_accession"), "studies", ["accession"], unique=False, schema="routing"
    )
    op.create_index(op.f("ix_routing_studies_due_at"), "studies", ["due_at"], unique=False, schema="routing")
    op.create_index(
        "ix_studies_expiry",
        "studies",
        ["expires_at"],
        unique=False,
        schema="routing",
        postgresql_where=sa.text("expires_at IS NOT NULL AND expired_at IS NULL"),
    )
    op.create_index(
        "ix_studies_root",
        "studies",
        ["settled_at"],
        unique=False,
        schema="routing",
        postgresql_where=sa.text("settled_at IS NOT NULL AND root_exported_at IS NULL"),
    )
    op.create_table(
        "timeline",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("share", sa.Uuid(), nullable=False),
        sa.Column("cause", sa.Uuid(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("share", "cause", "step"),
        schema="routing",
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("timeline", schema="routing")
    op.drop_index(
        "ix_studies_root",
        table_name="studies",
        schema="routing",
        postgresql_where=sa.text("settled_at IS NOT NULL AND root_exported_at IS NULL"),
    )
    op.drop_index(
        "ix_studies_expiry",
        table_name="studies",
        schema="routing",
        postgresql_where=sa.text("expires_at IS NOT NULL AND expired_at IS NULL"),
    )
    op.drop_index(op.f("ix_routing_studies_due_at"), table_name="studies", schema="routing")
    op.drop_index(op.f("ix_routing_studies_accession"), table_name="studies", schema="routing")
    op.drop_table("studies", schema="routing")
    op.drop_index("ix_shares_recipient", table_name="shares", schema="routing")
    op.drop_index(
        "ix_shares_expiry",
        table_name="shares",
        schema="routing",
        postgresql_where=sa.text("state IN ('requested', 'accepted', 'collecting', 'delivering')"),
    )
    op.drop_index(op.f("ix_routing_shares_updated_at"), table_name="shares", schema="routing")
    op.drop_index(op.f("ix_routing_shares_created_at"), table_name="shares", schema="routing")
    op.drop_index(op.f("ix_routing_shares_command_id"), table_name="shares", schema="routing")
    op.drop_table("shares", schema="routing")
    op.drop_table("share_instances", schema="routing")
    op.drop_index("ix_repeats_study", table_name="repeats", schema="routing")
    op.drop_table("repeats", schema="routing")
    op.drop_index("parked_key", table_name="parked", schema="routing")
    op.drop_table("parked", schema="routing")
    op.drop_index(
        "outbox_waiting",
        table_name="outbox",
        schema="routing",
        postgresql_where=sa.text("published_at IS NULL"),
    )
    op.drop_index(
        "outbox_cursor", table_name="outbox", schema="routing", postgresql_where=sa.text("cursor IS NOT NULL")
    )
    op.drop_table("outbox", schema="routing")
    op.drop_index("ix_instances_study", table_name="instances", schema="routing")
    op.drop_table("instances", schema="routing")
    op.drop_index("inbox_at", table_name="inbox", schema="routing", postgresql_using="brin")
    op.drop_table("inbox", schema="routing")
    op.drop_index("ix_held_study", table_name="held", schema="routing")
    op.drop_table("held", schema="routing")
    op.drop_table("command_results", schema="routing")
    op.drop_table("associations", schema="routing")
