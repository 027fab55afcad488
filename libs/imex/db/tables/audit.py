"""Schema `audit`: hash chains that only grow.

A record's hash covers salted commitments of personal facts, so that the facts in `personal` can be
erased with the chain intact.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from imex.db.tables.columns import moment
from imex.db.tables.common import common_tables, subject_findings_table

SCHEMA = "audit"
metadata = MetaData(schema=SCHEMA)
common = common_tables(metadata)

chains = Table(
    "chains",
    metadata,
    Column("partition", Integer, primary_key=True),
    Column("length", BigInteger, nullable=False),
    Column("head", LargeBinary, nullable=False),
)

records = Table(
    "records",
    metadata,
    Column("partition", Integer, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("event_id", Uuid, nullable=False, unique=True),
    moment("at", index=True),
    Column("action", Text, nullable=False),
    Column("institutions", ARRAY(Text), nullable=False),  # who may read it: actor's, source, recipient
    Column("study_uid", Text, index=True),
    Column("share", Uuid, index=True),
    Column("body", Text, nullable=False),  # RFC 8785 canonical JSON, exactly what was hashed
    Column("previous", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Index("ix_records_institutions", "institutions", postgresql_using="gin"),
    info={"append_only": True},
)

personal = Table(
    "personal",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("field", Text, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    Column("value", Text),  # None: erased
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("sequence", BigInteger, primary_key=True),
    moment("at", now=True),
    Column("heads", JSONB, nullable=False),  # [{partition, length, hash}]
    Column("previous", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    info={"append_only": True},
)
"""What all chains were at a moment, chained in turn: a cut tail shows."""

subject_findings = subject_findings_table(metadata)
"""What was found, erased, rectified and kept of persons, for whoever asked."""
