"""Rivals under a UID, and what came in unjudged."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_instances_uid", "instances", ["sop_instance_uid"], schema="delivery")
    op.create_index(
        "ix_instances_sent_uid",
        "instances",
        ["sent_uid"],
        schema="delivery",
        postgresql_where=sa.text("sent_uid IS NOT NULL"),
    )
    op.create_table(
        "unjudged",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("sop_instance_uid", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", "offset"),
        schema="validation",
    )
