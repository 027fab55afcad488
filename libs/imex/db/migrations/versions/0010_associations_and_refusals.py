"""associations of deliveries, kept ones, refusals."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "kept",
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("recipient", "endpoint", "holder"),
        schema="delivery",
    )
    op.create_table(
        "refusals",
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("transfer_syntax", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("recipient", "endpoint", "address", "sop_class_uid", "transfer_syntax"),
        schema="delivery",
    )
    op.add_column(
        "deliveries",
        sa.Column("associations", sa.Integer(), server_default="0", nullable=False),
        schema="delivery",
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("deliveries", "associations", schema="delivery")
    op.drop_table("refusals", schema="delivery")
    op.drop_table("kept", schema="delivery")
