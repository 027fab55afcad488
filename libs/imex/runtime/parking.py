"""The queue of records that wait for a time, behind a key, in the service's own database."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import delete, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as pg_insert

from imex.db import Database, UnitOfWork
from imex.runtime.message import RawRecord, headers_from_json, headers_to_json

TopicKey = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Parked:
    """A parked record and its place in the queue."""

    id: int
    record: RawRecord
    until: datetime


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits of one key."""

    topic: str
    partition: int
    key: bytes | None
    due: bool
    """Whether its first record's time has come."""


class ParkingLot:
    """Parked records of one consumer group. Each call is part of the caller's unit of work."""

    def __init__(self, database: Database, group: str) -> None:
        """Nothing is read yet."""
        self._database = database
        self._parked = database.common.parked
        self._group = group
        # one statement, as it is the first of every batch: each waits for the answer to the one before
        self._enter = text(
            "WITH come AS (SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:topics AS text[]),"  # noqa: S608
            " CAST(:keys AS bytea[])) AS e(event_id, topic, key)),"
            " held AS (SELECT DISTINCT p.topic, p.key"
            f" FROM {self._parked.schema}.parked p JOIN come"
            " ON p.consumer = :consumer AND p.topic = come.topic AND p.key = come.key),"
            f" claimed AS (INSERT INTO {self._parked.schema}.inbox (event_id)"
            " SELECT DISTINCT event_id FROM come WHERE NOT EXISTS"
            " (SELECT 1 FROM held WHERE held.topic = come.topic AND held.key = come.key)"
            " ORDER BY event_id ON CONFLICT DO NOTHING RETURNING event_id)"
            " SELECT event_id, NULL AS topic, NULL AS key FROM claimed"
            " UNION ALL SELECT NULL, topic, key FROM held"
        )

    async def enter(
        self, unit: UnitOfWork, records: Sequence[tuple[UUID, str, bytes | None]]
    ) -> tuple[set[UUID], set[TopicKey]]:
        """The first thing of a unit: write inbox rows for what is free to be handled.

        `records` are event ids with topic and key. Gives back the ids that were new, and the keys that have a
        queue, so that a new record has to join it: of these nothing is written. It fences as
        `UnitOfWork.claim` does, whose order it keeps.
        """
        rows = await unit.connection.execute(
            self._enter,
            {
                "consumer": self._group,
                "ids": [event for event, _, _ in records],
                "topics": [topic for _, topic, _ in records],
                "keys": [key for _, _, key in records],
            },
        )
        new: set[UUID] = set()
        held: set[TopicKey] = set()
        for row in rows:
            if row.event_id is None:
                held.add((row.topic, bytes(row.key)))
            else:
                new.add(row.event_id)
        return new, held

    async def park(self, unit: UnitOfWork, record: RawRecord, until: datetime, reason: str) -> None:
        """Add a record to the end of its key's queue; a record that is there already stays as it is."""
        await unit.connection.execute(
            pg_insert(self._parked)
            .values(
                consumer=self._group,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                timestamp_ms=record.timestamp_ms,
                key=record.key,
                value=record.value,
                headers=headers_to_json(record.headers),
                reason=reason,
                until=until,
            )
            .on_conflict_do_nothing()
        )

    async def queues(self, partitions: Iterable[tuple[str, int]]) -> list[Queue]:
        """Every queue in `partitions`."""
        wanted = list(partitions)
        if not wanted:
            return []
        parked = self._parked
        heads = (
            select(parked.c.topic, parked.c.partition, parked.c.key, parked.c.until)
            .ext(distinct_on(parked.c.topic, parked.c.partition, parked.c.key))
            .where(
                parked.c.consumer == self._group,
                tuple_(parked.c.topic, parked.c.partition).in_(wanted),
            )
            .order_by(parked.c.topic, parked.c.partition, parked.c.key, parked.c.id)
            .subquery()
        )
        async with self._database.look() as connection:
            rows = await connection.execute(select(heads, (heads.c.until <= func.now()).label("due")))
            return [Queue(row.topic, row.partition, row.key and bytes(row.key), row.due) for row in rows]

    async def head(self, unit: UnitOfWork, topic: str, key: bytes | None) -> Parked | None:
        """The first record of a queue, locked for this unit, if its time has come."""
        parked = self._parked
        found = await unit.connection.execute(
            select(parked)
            .where(
                parked.c.consumer == self._group,
                parked.c.topic == topic,
                parked.c.key.is_not_distinct_from(key),
            )
            .order_by(parked.c.id)
            .limit(1)
            .with_for_update()
        )
        row = found.one_or_none()
        if row is None or row.until > datetime.now(UTC):
            return None
        record = RawRecord(
            topic=row.topic,
            partition=row.partition,
            offset=row.offset,
            timestamp_ms=row.timestamp_ms,
            key=row.key and bytes(row.key),
            value=row.value and bytes(row.value),
            headers=headers_from_json(row.headers),
        )
        return Parked(row.id, record, row.until)

    async def remove(self, unit: UnitOfWork, parked: Parked) -> None:
        """Take a record out of its queue."""
        await unit.connection.execute(delete(self._parked).where(self._parked.c.id == parked.id))

    async def postpone(self, unit: UnitOfWork, parked: Parked, until: datetime, reason: str) -> None:
        """Let a record wait on, in its place."""
        await unit.connection.execute(
            update(self._parked).where(self._parked.c.id == parked.id).values(until=until, reason=reason)
        )
