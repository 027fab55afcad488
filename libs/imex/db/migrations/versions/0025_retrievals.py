"""retrievals."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _requests()
    op.create_table(
        "request_studies",
        sa.Column("request", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True)),
        sa.Column("shared_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("request", "source", "study_uid"),
        schema="routing",
    )
    op.create_index(
        "ix_request_studies_due",
        "request_studies",
        ["source", "study_uid"],
        schema="routing",
        postgresql_where=sa.text("shared_at IS NULL"),
    )
    _retrievals()


def _requests() -> None:
    new = (
        sa.Column("granted_by", sa.Text()),
        sa.Column("granted_at", sa.DateTime(timezone=True)),
        sa.Column("grant_words", sa.Text(), server_default="", nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True)),
        sa.Column("retrieval", sa.Text()),
        sa.Column("retrieval_words", sa.Text(), server_default="", nullable=False),
        sa.Column("retrieval_order", sa.Integer(), server_default=sa.text("0"), nullable=False),
    )
    for column in new:
        op.add_column("requests", column, schema="routing")
    op.create_index(
        "ix_requests_waiting",
        "requests",
        ["looked_at"],
        schema="routing",
        postgresql_where=sa.text("state = 'open' AND granted_at IS NOT NULL"),
    )
    op.create_index(
        "ix_requests_wanted",
        "requests",
        ["expires_at"],
        schema="routing",
        postgresql_where=sa.text("wanted IS NOT NULL"),
    )


def _retrievals() -> None:
    op.create_table(
        "retrievals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("order_number", sa.Integer(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("endpoints", postgresql.JSONB(), nullable=False),
        sa.Column("asked", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("wanted", postgresql.JSONB()),
        sa.Column("modality", sa.Text()),
        sa.Column("studied_from", sa.Text()),
        sa.Column("studied_until", sa.Text()),
        sa.Column("modalities", postgresql.JSONB()),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.Column("held", postgresql.JSONB(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text()),
        sa.Column("said", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("told", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True)),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True)),
        sa.Column("leased_by", sa.Text()),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("ordered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="delivery",
    )
    op.create_index(
        "ix_retrievals_due",
        "retrievals",
        ["next_attempt_at"],
        schema="delivery",
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.create_table(
        "retrieval_studies",
        sa.Column("request", sa.Uuid(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("studied", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("instances", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("request", "study_uid"),
        schema="delivery",
    )
