"""delivery mends."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "shares",
        sa.Column("reached", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        schema="routing",
    )
    op.create_table(
        "note_deliveries",
        sa.Column("delivery", sa.Uuid(), nullable=False),
        sa.Column("correction", sa.Uuid(), nullable=False),
        sa.Column("share", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), server_default="notifying", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("delivery"),
        schema="routing",
    )
    op.create_index(
        "ix_inbox_instances_object",
        "inbox_instances",
        ["object_key"],
        schema="delivery",
        postgresql_where=sa.text("own"),
    )
    op.create_table(
        "inbox_sweep",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("after", sa.Text(), server_default="", nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="delivery",
    )
    op.create_index("ix_note_deliveries_share", "note_deliveries", ["share", "correction"], schema="routing")
