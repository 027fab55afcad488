"""manifests of which a part could not be read."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "deliveries", sa.Column("lost", sa.Text(), server_default="", nullable=False), schema="delivery"
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("deliveries", "lost", schema="delivery")
