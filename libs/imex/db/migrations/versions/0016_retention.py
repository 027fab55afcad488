"""how long payloads live."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_ENDED = "retiring_at IS NULL AND disposed_at IS NULL AND (settled_at IS NOT NULL OR expired_at IS NOT NULL)"


def upgrade() -> None:
    """Apply."""
    for name in ("retention_at", "retiring_at", "disposed_at", "hold_lifted_at"):
        op.add_column("studies", sa.Column(name, _MOMENT, nullable=True), schema="routing")
    op.create_index(
        "ix_studies_retention",
        "studies",
        ["retention_at"],
        schema="routing",
        postgresql_where=sa.text(_ENDED),
    )
    op.create_index(
        "ix_studies_retiring",
        "studies",
        ["retiring_at"],
        schema="routing",
        postgresql_where=sa.text("retiring_at IS NOT NULL"),
    )
    op.add_column(
        "shares",
        sa.Column("legal_hold", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        schema="routing",
    )
    op.add_column("shares", sa.Column("retain_days", sa.Integer(), nullable=True), schema="routing")
    op.add_column("shares", sa.Column("disposed_at", _MOMENT, nullable=True), schema="routing")
    op.add_column("shares", sa.Column("at_disposal", postgresql.JSONB(), nullable=True), schema="routing")
    op.execute("UPDATE routing.shares SET legal_hold = true WHERE purpose = 'forensic'")
    op.create_table(
        "holds",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("placed_by", sa.Text(), nullable=False),
        sa.Column("institution", sa.Text(), nullable=True),
        sa.Column("at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("source", "study_uid"),
        schema="routing",
    )
    op.create_table(
        "disposed",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        schema="routing",
    )
    op.create_index("ix_disposed_study", "disposed", ["source", "study_uid"], schema="routing")
    op.add_column("judgements", sa.Column("disposed_at", _MOMENT, nullable=True), schema="validation")
    op.create_table(
        "disposals",
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("at", _MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("object_key"),
        schema="validation",
    )
    op.create_table(
        "swept",
        sa.Column("institution", sa.Text(), nullable=False),
        sa.Column("through", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("institution"),
        schema="validation",
    )
