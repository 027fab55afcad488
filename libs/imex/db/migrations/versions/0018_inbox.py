"""what lies in inboxes."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "inbox_shares",
        sa.Column("share", sa.Uuid(), nullable=False),
        sa.Column("delivery", sa.Uuid(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("share"),
        schema="delivery",
    )
    op.create_index(
        "ix_inbox_shares_recipient", "inbox_shares", ["recipient", "at", "share"], schema="delivery"
    )
    op.create_table(
        "inbox_instances",
        sa.Column("share", sa.Uuid(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("given_sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("transfer_syntax", sa.Text(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("given_digest", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("share", "sop_instance_uid"),
        schema="delivery",
    )
    op.create_index(
        "ix_inbox_instances_given",
        "inbox_instances",
        ["share", "given_sop_instance_uid"],
        unique=True,
        schema="delivery",
    )
    op.create_index(
        "ix_inbox_instances_own",
        "inbox_instances",
        ["share"],
        schema="delivery",
        postgresql_where=sa.text("own"),
    )
    op.create_index(
        "ix_shares_undelivered",
        "shares",
        ["recipient", "created_at"],
        schema="routing",
        postgresql_where=sa.text("state IN ('requested', 'accepted', 'collecting', 'delivering')"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_shares_undelivered", "shares", schema="routing")
    op.drop_table("inbox_instances", schema="delivery")
    op.drop_table("inbox_shares", schema="delivery")
