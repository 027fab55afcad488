"""indexes for what is counted again and again: deliveries under way, quarantine that waits."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index(
        "ix_deliveries_open",
        "deliveries",
        ["recipient", "priority", "state"],
        schema="delivery",
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.create_index(
        "ix_quarantine_waiting",
        "quarantine",
        ["created_at"],
        schema="validation",
        postgresql_where=sa.text("state = 'waiting'"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_quarantine_waiting", "quarantine", schema="validation")
    op.drop_index("ix_deliveries_open", "deliveries", schema="delivery")
