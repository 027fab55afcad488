"""results that come back."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "shares",
        sa.Column("result_due", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        schema="routing",
    )
    op.create_index(
        "ix_shares_result",
        "shares",
        ["delivered_at"],
        schema="routing",
        postgresql_where=sa.text("result_due"),
    )
