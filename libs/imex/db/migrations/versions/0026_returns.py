"""What shares leave out of their studies, how recipients know what they get, and what results refer to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    referenced: sa.Column[list[str]] = sa.Column(
        "referenced", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False
    )
    op.add_column("studies", referenced, schema="routing")
    op.add_column("shares", sa.Column("left_out", postgresql.JSONB()), schema="routing")
    op.add_column("shares", sa.Column("given_study_uid", sa.Text()), schema="routing")
    return_due: sa.Column[bool] = sa.Column(
        "return_due", sa.Boolean(), server_default="false", nullable=False
    )
    op.add_column("shares", return_due, schema="routing")
    op.create_index(
        "ix_shares_return",
        "shares",
        ["created_at"],
        schema="routing",
        postgresql_where=sa.text("return_due"),
    )
    op.create_index(
        "ix_shares_given_study_uid",
        "shares",
        ["given_study_uid"],
        schema="routing",
        postgresql_where=sa.text("given_study_uid IS NOT NULL"),
    )
