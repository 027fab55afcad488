"""corrections, and what persons may ask."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    empty, false = sa.text("''"), sa.text("false")
    op.add_column(
        "instances",
        sa.Column("recalled", sa.Boolean(), server_default=false, nullable=False),
        schema="routing",
    )
    op.add_column(
        "studies", sa.Column("recalled", sa.Integer(), server_default="0", nullable=False), schema="routing"
    )
    for name in ("series_uid", "sop_class_uid"):
        op.add_column(
            "disposed", sa.Column(name, sa.Text(), server_default=empty, nullable=False), schema="routing"
        )
    _corrections(empty, false)
    for schema in ("validation", "routing", "delivery", "audit"):
        op.create_table(
            "subject_findings",
            sa.Column("command", sa.Uuid(), nullable=False),
            sa.Column("findings", postgresql.JSONB(), nullable=False),
            sa.Column("at", _MOMENT, server_default=sa.text("now()"), nullable=False),
            sa.PrimaryKeyConstraint("command"),
            schema=schema,
        )
    op.create_table(
        "subjects",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("report", sa.Uuid(), nullable=True),
        sa.Column("person", postgresql.JSONB(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=empty, nullable=False),
        sa.Column("at", _MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="portal",
    )


def _corrections(empty: sa.TextClause, false: sa.TextClause) -> None:
    op.create_table(
        "corrections",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("whole", sa.Boolean(), server_default=false, nullable=False),
        sa.Column("reason", sa.Text(), server_default=empty, nullable=False),
        sa.Column("personal", postgresql.JSONB(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actor_institution", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("note_uid", sa.Text(), nullable=True),
        sa.Column("note_sent_by", sa.Text(), nullable=True),
        sa.Column("note_key", sa.Text(), nullable=True),
        sa.Column("note_size", sa.BigInteger(), nullable=True),
        sa.Column("note_digest", sa.Text(), nullable=True),
        sa.Column("note_syntax", sa.Text(), nullable=True),
        sa.Column("note_deleted_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="routing",
    )
    op.create_index("ix_corrections_study", "corrections", ["source", "study_uid"], schema="routing")
    op.create_index("ix_corrections_at", "corrections", ["at"], schema="routing")
    op.create_index(
        "ix_corrections_heard",
        "corrections",
        ["at"],
        schema="routing",
        postgresql_where=sa.text("state = 'heard'"),
    )
    op.create_table(
        "corrected_instances",
        sa.Column("correction", sa.Uuid(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("correction", "sop_instance_uid"),
        schema="routing",
    )
    op.create_index(
        "ix_corrected_instances_uid", "corrected_instances", ["sop_instance_uid"], schema="routing"
    )
    op.create_table(
        "corrected_shares",
        sa.Column("correction", sa.Uuid(), nullable=False),
        sa.Column("share", sa.Uuid(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=empty, nullable=False),
        sa.Column("delivery", sa.Uuid(), nullable=True),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("notified_at", _MOMENT, nullable=True),
        sa.Column("acknowledged_at", _MOMENT, nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("remark", sa.Text(), server_default=empty, nullable=False),
        sa.Column("noticed_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("correction", "share"),
        schema="routing",
    )
    op.create_index("ix_corrected_shares_share", "corrected_shares", ["share"], schema="routing")
    for name, column, where in (
        ("delivery", "delivery", "delivery IS NOT NULL"),
        ("due", "at", "state IN ('due', 'notifying')"),
        ("outstanding", "at", "acknowledged_at IS NULL AND state <> 'stopped'"),
    ):
        op.create_index(
            f"ix_corrected_shares_{name}",
            "corrected_shares",
            [column],
            schema="routing",
            postgresql_where=sa.text(where),
        )
