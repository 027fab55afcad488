"""what confirmed an instance, and the storage commitments that were asked for."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    for column in (
        sa.Column("confirmation", sa.Text(), nullable=True),
        sa.Column("lacked", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sent_study_uid", sa.Text(), nullable=True),
        sa.Column("sent_uid", sa.Text(), nullable=True),
    ):
        op.add_column("instances", column, schema="delivery")
    op.create_table(
        "commitments",
        sa.Column("transaction_uid", sa.Text(), nullable=False),
        sa.Column("delivery", sa.Uuid(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("uids", JSONB(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("committed", JSONB(), nullable=True),
        sa.Column("refused", JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("transaction_uid"),
        schema="delivery",
    )
    op.create_index("ix_delivery_commitments_delivery", "commitments", ["delivery"], schema="delivery")
