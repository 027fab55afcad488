"""what validation keeps of revisions and identities, and what is disputed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    for column in (
        sa.Column("releaser", sa.Text(), nullable=False, server_default="source"),
        sa.Column("disputes", sa.Uuid(), nullable=True),
        sa.Column("checks", JSONB(), nullable=False, server_default="[]"),
    ):
        op.add_column("quarantine", column, schema="validation")
    op.execute("UPDATE validation.quarantine SET releaser = 'nobody' WHERE NOT releasable")
    op.add_column(
        "studies",
        sa.Column("temporary", sa.Boolean(), nullable=False, server_default="false"),
        schema="validation",
    )
    op.create_index(
        "ix_studies_temporary",
        "studies",
        ["source", "patient_id"],
        schema="validation",
        postgresql_where=sa.text("temporary"),
    )
    op.create_table(
        "traced",
        sa.Column("nhs_number", sa.Text(), primary_key=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("superseded_by", sa.Text(), nullable=True),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        schema="validation",
    )
    op.create_table(
        "links",
        sa.Column("id", sa.Uuid(), primary_key=True),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in (
                "source",
                "study_uid",
                "temporary_issuer",
                "temporary_id",
                "issuer",
                "patient_id",
                "reason",
                "linked_by",
            )
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        schema="validation",
    )
    op.create_index("ix_links_study", "links", ["source", "study_uid"], schema="validation")
    op.add_column(
        "held", sa.Column("disputes", sa.Boolean(), nullable=False, server_default="false"), schema="routing"
    )
    op.add_column(
        "instances",
        sa.Column("disputed", sa.Boolean(), nullable=False, server_default="false"),
        schema="routing",
    )
    op.add_column(
        "studies", sa.Column("disputed", sa.Integer(), nullable=False, server_default="0"), schema="routing"
    )
    op.add_column(
        "withheld",
        sa.Column("disputes", sa.Boolean(), nullable=False, server_default="false"),
        schema="delivery",
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("withheld", "disputes", schema="delivery")
    op.drop_column("studies", "disputed", schema="routing")
    op.drop_column("instances", "disputed", schema="routing")
    op.drop_column("held", "disputes", schema="routing")
    op.drop_table("links", schema="validation")
    op.drop_table("traced", schema="validation")
    op.drop_index("ix_studies_temporary", "studies", schema="validation")
    op.drop_column("studies", "temporary", schema="validation")
    for name in ("checks", "disputes", "releaser"):
        op.drop_column("quarantine", name, schema="validation")
