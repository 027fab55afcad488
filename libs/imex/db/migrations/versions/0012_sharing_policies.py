"""what routing keeps of policies, decisions and marks of records."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_SHARES: tuple[sa.Column[Any], ...] = (
    sa.Column("clinician", sa.Text(), nullable=True),
    sa.Column("controllers", ARRAY(sa.Text()), nullable=False, server_default="{}"),
    sa.Column("processors", ARRAY(sa.Text()), nullable=False, server_default="{}"),
    sa.Column("alternate_of", sa.Text(), nullable=True),
    sa.Column("by_expected", sa.Boolean(), nullable=False, server_default="false"),
    sa.Column("required_series", sa.Text(), nullable=True),
    sa.Column("at_most_s", sa.Integer(), nullable=True),
    sa.Column("completion_asked_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("priors_due", sa.Boolean(), nullable=False, server_default="false"),
)
_OPEN = "state IN ('requested', 'accepted', 'collecting', 'delivering', 'partial')"


def upgrade() -> None:
    """Apply."""
    for column in _SHARES:
        op.add_column("shares", column, schema="routing")
    op.create_index("ix_shares_study_uid", "shares", ["study_uid"], schema="routing")
    op.create_index(
        "ix_shares_agreement", "shares", ["agreement"], schema="routing", postgresql_where=sa.text(_OPEN)
    )
    op.create_index(
        "ix_shares_priors", "shares", ["created_at"], schema="routing", postgresql_where=sa.text("priors_due")
    )
    op.add_column("studies", sa.Column("stated_instances", sa.Integer(), nullable=True), schema="routing")
    op.create_index("ix_studies_uid", "studies", ["study_uid"], schema="routing")
    op.create_index(
        "ix_studies_patient",
        "studies",
        [sa.text("regexp_replace(patient_id, '[ -]', '', 'g')")],
        schema="routing",
    )
    op.create_table(
        "series",
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("study_uid", sa.Text(), primary_key=True),
        sa.Column("series_uid", sa.Text(), primary_key=True),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("body_part", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        schema="routing",
    )
    op.create_table(
        "marks",
        sa.Column("issuer", sa.Text(), primary_key=True),
        sa.Column("patient_id", sa.Text(), primary_key=True),
        sa.Column("opted_out", sa.Boolean(), nullable=False),
        sa.Column("sensitive", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        schema="routing",
    )
    op.create_table(
        "decisions",
        sa.Column("seq", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("directory_version", sa.Text(), nullable=False),
        sa.Column("question", JSONB(), nullable=False),
        sa.Column("personal", JSONB(), nullable=True),
        sa.Column("answer", JSONB(), nullable=False),
        schema="routing",
    )
    op.create_index("ix_decisions_at", "decisions", ["at"], schema="routing")
    op.create_index("ix_decisions_study", "decisions", ["source", "study_uid"], schema="routing")


def downgrade() -> None:
    """Take back."""
    op.drop_table("decisions", schema="routing")
    op.drop_table("marks", schema="routing")
    op.drop_table("series", schema="routing")
    op.drop_index("ix_studies_patient", "studies", schema="routing")
    op.drop_index("ix_studies_uid", "studies", schema="routing")
    op.drop_column("studies", "stated_instances", schema="routing")
    for index in ("ix_shares_priors", "ix_shares_agreement", "ix_shares_study_uid"):
        op.drop_index(index, "shares", schema="routing")
    for column in _SHARES:
        op.drop_column("shares", column.name, schema="routing")
