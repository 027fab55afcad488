"""delivery controls."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_MAY_GO = "state = 'waiting' AND paused IS NULL"


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _words(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), nullable=False, server_default="")


def upgrade() -> None:
    """Apply."""
    for column in (
        sa.Column("paused", sa.Uuid(), nullable=True),
        _moment("paused_at"),
        _words("paused_by"),
        sa.Column("paused_institution", sa.Text(), nullable=True),
        _words("paused_reason"),
        sa.Column("failed_by", sa.ARRAY(sa.Uuid()), nullable=False, server_default="{}"),
        sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
        _moment("failing_since"),
        _moment("failed_at"),
        _words("failed_reason"),
        _words("failed_place"),
        _moment("probe_at"),
    ):
        op.add_column("destinations", column, schema="delivery")
    op.create_table(
        "queues",
        sa.Column("recipient", sa.Text(), primary_key=True),
        sa.Column("endpoint", sa.Text(), primary_key=True),
        sa.Column("source", sa.Text(), primary_key=True),
        _moment("served_at"),
        schema="delivery",
    )
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text(), primary_key=True),
        sa.Column("jwk", postgresql.JSONB(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="delivery",
    )
    op.create_table(
        "controls",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("delivery", sa.Uuid(), nullable=True),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("institution", sa.Text(), nullable=True),
        _words("reason"),
        sa.Column("details", postgresql.JSONB(), nullable=False, server_default="{}"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="delivery",
    )
    op.create_index("ix_delivery_controls_delivery", "controls", ["delivery"], schema="delivery")
    op.create_index("ix_controls_destination", "controls", ["recipient", "endpoint", "at"], schema="delivery")
    for column in (
        sa.Column("paused", sa.Uuid(), nullable=True),
        _words("paused_by"),
        sa.Column("paused_institution", sa.Text(), nullable=True),
        _words("paused_reason"),
        sa.Column("reroute_to", sa.Text(), nullable=True),
        sa.Column("only_to_settle", sa.Boolean(), nullable=False, server_default="false"),
    ):
        op.add_column("deliveries", column, schema="delivery")
    op.add_column("instances", sa.Column("sent_to", postgresql.JSONB(), nullable=True), schema="delivery")
    _change_indexes()
    # who sends where is known from now on as deliveries come; of those that are there, from them: also of
    # those that have ended, as a person may have them tried again
    op.execute(
        "INSERT INTO delivery.destinations (recipient, endpoint)"
        " SELECT DISTINCT recipient, endpoint FROM delivery.deliveries ON CONFLICT DO NOTHING"
    )
    op.execute(
        "INSERT INTO delivery.queues (recipient, endpoint, source)"
        " SELECT DISTINCT recipient, endpoint, source FROM delivery.deliveries"
    )


def _change_indexes() -> None:
    op.drop_index("ix_deliveries_due", table_name="deliveries", schema="delivery")
    op.drop_index("ix_deliveries_destination", table_name="deliveries", schema="delivery")
    place = ["recipient", "endpoint"]
    _index("ix_deliveries_due", [*place, "priority", "next_attempt_at"], _MAY_GO)
    _index(
        "ix_deliveries_turns",
        [*place, "priority", "source", "created_at"],
        _MAY_GO,
        postgresql_include=["next_attempt_at"],
    )
    _index("ix_deliveries_failing", [*place, "started_at"], "state = 'waiting' AND failures > 0")
    _index("ix_deliveries_running", place, "state = 'running'")
    _index("ix_deliveries_settling", ["next_attempt_at"], "state = 'waiting' AND only_to_settle")
    _index("ix_deliveries_expiry", ["expires_at"], "state = 'waiting'")
    op.create_index("ix_deliveries_created", "deliveries", ["created_at", "id"], schema="delivery")


def _index(name: str, columns: list[str], where: str, **more: Any) -> None:
    op.create_index(name, "deliveries", columns, schema="delivery", postgresql_where=sa.text(where), **more)


def downgrade() -> None:
    """Take back."""
    for name in ("due", "turns", "failing", "running", "settling", "expiry", "created"):
        op.drop_index(f"ix_deliveries_{name}", table_name="deliveries", schema="delivery")
    op.create_index("ix_deliveries_due", "deliveries", ["state", "next_attempt_at"], schema="delivery")
    op.create_index(
        "ix_deliveries_destination", "deliveries", ["recipient", "endpoint", "state"], schema="delivery"
    )
    op.drop_column("instances", "sent_to", schema="delivery")
    for name in (
        "only_to_settle",
        "reroute_to",
        "paused_reason",
        "paused_institution",
        "paused_by",
        "paused",
    ):
        op.drop_column("deliveries", name, schema="delivery")
    op.drop_table("controls", schema="delivery")
    op.drop_table("signing_keys", schema="delivery")
    op.drop_table("queues", schema="delivery")
    for name in (
        "probe_at",
        "failed_place",
        "failed_reason",
        "failed_at",
        "failing_since",
        "failures",
        "failed_by",
        "paused_reason",
        "paused_institution",
        "paused_by",
        "paused_at",
        "paused",
    ):
        op.drop_column("destinations", name, schema="delivery")
