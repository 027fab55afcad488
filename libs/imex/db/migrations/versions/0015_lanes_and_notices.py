"""lanes, objectives and notices."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_OPEN = "state IN ('requested', 'accepted', 'collecting', 'delivering')"


def upgrade() -> None:
    """Apply."""
    for name, kind in (
        ("escalate_after_s", sa.Integer()),
        ("escalate_to", sa.Text()),
        ("escalated_to", sa.Text()),
        ("escalated_at", sa.DateTime(timezone=True)),
        ("last_image_at", sa.DateTime(timezone=True)),
    ):
        op.add_column("shares", sa.Column(name, kind, nullable=True), schema="routing")
    op.execute(
        "UPDATE routing.shares s SET last_image_at = i.at FROM (SELECT share, max(confirmed_at) AS at"
        " FROM routing.share_instances WHERE confirmed_at IS NOT NULL GROUP BY share) i WHERE i.share = s.id"
    )
    op.create_index(
        "ix_shares_escalation",
        "shares",
        ["created_at"],
        schema="routing",
        postgresql_where=sa.text(f"escalated_at IS NULL AND {_OPEN}"),
    )
    op.create_table(
        "notices",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("share", sa.Uuid(), nullable=True),
        sa.Column("recipient", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        schema="routing",
    )
    op.create_index("ix_routing_notices_at", "notices", ["at"], schema="routing")
    op.create_table(
        "acknowledgements",
        sa.Column("notice", sa.Uuid(), primary_key=True),
        sa.Column("institution", sa.Text(), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("remark", sa.Text(), nullable=False, server_default=""),
        schema="portal",
    )
    # what had gone wrong before there were notices
    op.execute(
        "INSERT INTO routing.notices (id, kind, source, study_uid, reason, at)"
        " SELECT gen_random_uuid(), 'stuck', source, study_uid, stuck, seen_at FROM routing.studies"
        " WHERE stuck IS NOT NULL"
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("acknowledgements", schema="portal")
    op.drop_table("notices", schema="routing")
    op.drop_index("ix_shares_escalation", "shares", schema="routing")
    for name in ("last_image_at", "escalated_at", "escalated_to", "escalate_to", "escalate_after_s"):
        op.drop_column("shares", name, schema="routing")
