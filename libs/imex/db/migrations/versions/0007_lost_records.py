"""instances that were acknowledged and never heard of are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_COUNTS = (("associations", "heard"), ("associations", "received"), ("studies", "lost"))


def upgrade() -> None:
    """Apply."""
    for table, column in _COUNTS:
        op.add_column(
            table, sa.Column(column, sa.Integer(), server_default="0", nullable=False), schema="routing"
        )


def downgrade() -> None:
    """Take back."""
    for table, column in _COUNTS:
        op.drop_column(table, column, schema="routing")
