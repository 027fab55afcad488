"""The tables that every service schema has: what came in, what goes out, what waits."""

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID


@dataclass(frozen=True, slots=True)
class Common:
    """The three common tables of one schema."""

    inbox: Table
    outbox: Table
    parked: Table


def common_tables(metadata: MetaData) -> Common:
    """Define the common tables in the schema of `metadata`.

    * `inbox`: ids of the events whose effects this schema holds.
    * `outbox`: events to publish, in the order of `seq`; see `imex.db.outbox` for how it is kept. Rows of
      the topic `shares` stay as the change feed with their gap-free `cursor`; others go once published.
    * `parked`: Kafka records that wait for a time, with their key's later records behind them, by `id`.
    """
    inbox = Table(
        "inbox",
        metadata,
        Column("event_id", UUID(as_uuid=True), primary_key=True),
        Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Index("inbox_at", "at", postgresql_using="brin"),
    )
    outbox = Table(
        "outbox",
        metadata,
        Column("seq", BigInteger, Identity(always=True), primary_key=True),
        Column("topic", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("value", LargeBinary, nullable=False),
        Column("headers", JSONB, nullable=False, comment="object of header name to text"),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("published_at", DateTime(timezone=True)),
        Column("cursor", BigInteger),
        Index("outbox_waiting", "seq", postgresql_where=text("published_at IS NULL")),
        Index("outbox_cursor", "cursor", unique=True, postgresql_where=text("cursor IS NOT NULL")),
    )
    parked = Table(
        "parked",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("consumer", Text, nullable=False, comment="the consumer group that parked it"),
        Column("topic", Text, nullable=False),
        Column("partition", Integer, nullable=False),
        Column("offset", BigInteger, nullable=False),
        Column("timestamp_ms", BigInteger, nullable=False),
        Column("key", LargeBinary),
        Column("value", LargeBinary),
        Column("headers", JSONB, nullable=False, comment="array of [name, base64 of the value]"),
        Column("reason", Text, nullable=False),
        Column("until", DateTime(timezone=True), nullable=False),
        Column("parked_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        UniqueConstraint("consumer", "topic", "partition", "offset", name="parked_record"),
        Index("parked_key", "consumer", "topic", "key"),
    )
    return Common(inbox=inbox, outbox=outbox, parked=parked)


def subject_findings_table(metadata: MetaData) -> Table:
    """Define the table in which a service answers what it has of a person: counts, and nobody's data.

    `findings` is an array of objects with `place`, `found`, `done`, `kept` and `why`.
    """
    return Table(
        "subject_findings",
        metadata,
        Column("command", Uuid, primary_key=True),
        Column("findings", JSONB, nullable=False),
        Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
