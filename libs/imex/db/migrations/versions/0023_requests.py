"""requests."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("wanted", postgresql.JSONB(), nullable=True),
        sa.Column("modality", sa.Text(), nullable=True),
        sa.Column("studied_from", sa.Text(), nullable=True),
        sa.Column("studied_until", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), server_default="", nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("made_at", _MOMENT, nullable=False),
        sa.Column("decided_at", _MOMENT, nullable=True),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="routing",
    )
    for name in ("requester", "holder"):
        op.create_index(f"ix_requests_{name}", "requests", [name, "made_at", "id"], schema="routing")
    op.create_index(
        "ix_requests_expiry",
        "requests",
        ["expires_at"],
        schema="routing",
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "request_shares",
        sa.Column("request", sa.Uuid(), nullable=False),
        sa.Column("share", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("request", "share"),
        schema="routing",
    )
    op.create_index("ix_request_shares_share", "request_shares", ["share"], schema="routing")
