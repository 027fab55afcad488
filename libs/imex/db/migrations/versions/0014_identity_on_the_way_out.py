"""what delivery keeps of identities it changed on the way out."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("deliveries", sa.Column("agreement", sa.Text(), nullable=True), schema="delivery")
    op.add_column("deliveries", sa.Column("deidentify", JSONB(), nullable=True), schema="delivery")
    op.add_column("instances", sa.Column("delivered_digest", sa.Text(), nullable=True), schema="delivery")
    op.add_column("instances", sa.Column("changes", JSONB(), nullable=True), schema="delivery")
    op.add_column(
        "shares",
        sa.Column("deidentified", sa.Boolean(), server_default="false", nullable=False),
        schema="routing",
    )
    op.create_table(
        "projects",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        _now(),
        sa.PrimaryKeyConstraint("project"),
        schema="delivery",
    )
    op.create_table(
        "given_uids",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("original", sa.Text(), nullable=False),
        sa.Column("given", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "original"),
        sa.UniqueConstraint("project", "given", name="uq_given_uids"),
        schema="delivery",
    )
    op.create_table(
        "pseudonyms",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("pseudonym", sa.Text(), nullable=False),
        sa.Column("sealed", JSONB(), nullable=False),
        _now(),
        sa.PrimaryKeyConstraint("project", "source", "pseudonym"),
        schema="delivery",
    )
    op.create_table(
        "releases",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("given_study_uid", sa.Text(), nullable=False),
        sa.Column("pseudonym", sa.Text(), nullable=False),
        sa.Column("sealed", JSONB(), nullable=False),
        _now(),
        sa.PrimaryKeyConstraint("project", "recipient", "source", "study_uid"),
        schema="delivery",
    )
    op.create_index("ix_releases_returned", "releases", ["recipient", "given_study_uid"], schema="delivery")
    op.create_table(
        "identifiers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), server_default="", nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("own", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("birth_date", sa.Text(), server_default="", nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        _now(),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("recipient", "kind", "source", "issuer", "value", name="uq_identifiers_value"),
        sa.UniqueConstraint("recipient", "kind", "source", "own", name="uq_identifiers_own"),
        schema="delivery",
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("shares", "deidentified", schema="routing")
    for table in ("identifiers", "releases", "pseudonyms", "given_uids", "projects"):
        op.drop_table(table, schema="delivery")
    for table, column in (
        ("instances", "changes"),
        ("instances", "delivered_digest"),
        ("deliveries", "deidentify"),
        ("deliveries", "agreement"),
    ):
        op.drop_column(table, column, schema="delivery")


def _now() -> "sa.Column[object]":
    return sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
