"""Schema `directory`: every version that was ever in force. Owned by the portal."""

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, UniqueConstraint

from imex.db.tables.columns import moment

SCHEMA = "directory"
metadata = MetaData(schema=SCHEMA)

versions = Table(
    "versions",
    metadata,
    Column("number", BigInteger, primary_key=True),
    Column("version", Text, nullable=False),  # SHA-256 of the canonical document
    Column("document", Text, nullable=False),  # canonical JSON
    Column("object_key", Text, nullable=False),
    Column("applied_by", Text, nullable=False),
    moment("applied_at", now=True),
    UniqueConstraint("number", "version"),
)
