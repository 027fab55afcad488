"""receipts name what is in quarantine or was discarded there."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "withheld",
        sa.Column("delivery", sa.Uuid(), nullable=False),
        sa.Column("quarantine", sa.Uuid(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("delivery", "quarantine"),
        schema="delivery",
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("withheld", schema="delivery")
