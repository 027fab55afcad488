"""Proof that nothing is lost: what was acknowledged against what became of it (`imex reconcile`).

What was acknowledged is read from Kafka, where ingest wrote it before it answered SUCCESS; what became of
it is read from the services' tables. Records older than the topics' retention are known from the tables.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from pydantic import BaseModel, Field

from imex.db import Database
from imex.events import TOPICS, UndecodableEvent, decode
from imex.events.instances import InstanceReceived
from imex.portal.queries import reconciliation
from imex.portal.queries.reconciliation import Unaccounted
from imex.runtime.message import RawRecord

INSTANCE_TOPICS = tuple(topic.name for topic in TOPICS if topic.family == "instances")
DEAD_TOPICS = tuple(topic.dead_letter for topic in TOPICS if topic.family == "instances")
Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""


class Reader(Protocol):
    """Reads topics from end to end: an `imex.runtime.reader.TopicReader`."""

    def read(self, topics: Sequence[str]) -> AsyncIterator[RawRecord]:
        """Every record of `topics`."""
        ...


class Reconciliation(BaseModel):
    """Instances, the same bytes counted once. `acknowledged` is the sum of the five that follow it."""

    acknowledged: int
    delivered: int
    waiting: int = Field(description="under way, unaddressed, failed but to be retried, or stuck")
    quarantined: int = Field(description="held, or discarded there by a person")
    refused: int = Field(description="by agreement, by the recipient, called off by a person, or recalled")
    expired: int
    duplicates: int = Field(description="times that the same bytes came again")
    details: dict[str, int] = Field(description="the same instances by finer fates")
    unaccounted: list[dict[str, str]]
    balanced: bool


@dataclass
class Acknowledged:
    """What Kafka says was acknowledged."""

    events: dict[UUID, tuple[Place, tuple[str, str, str], str]] = field(default_factory=dict)
    """For each instance.received: where it is, its (source, instance, digest), and its study."""
    unreadable: int = 0


async def reconcile(database: Database, reader: Reader) -> Reconciliation:
    """Read both sides and compare.

    Raises:
        imex.runtime.errors.BrokerUnavailable: Kafka is away, so that one side is unknown.
    """
    # Kafka first: what comes in after that is in neither side, or judged already
    acknowledged = await read_acknowledged(reader)
    dead = await read_dead(reader)
    async with database.engine.connect() as connection:
        every, settled = await reconciliation.judged(connection)
        parked = await reconciliation.parked(connection)
        counts, nowhere = await reconciliation.fates(connection)
    pending, lost = unjudged(acknowledged, every, settled, dead | parked)
    duplicates = len(every) - sum(counts.values())
    counts["backlog"] = len(pending)
    counts["unaccounted"] = counts.get("unaccounted", 0) + len(lost)
    return balance(counts, nowhere + lost, duplicates)


def unjudged(
    acknowledged: Acknowledged, every: set[UUID], settled: set[UUID], set_aside: set[Place]
) -> tuple[set[tuple[str, str, str]], list[Unaccounted]]:
    """Instances that nobody has judged: those that wait their turn, and those that were passed over.

    A record was passed over when a later one of its partition was judged a while ago, unless it was set
    aside or became a dead letter, which both wait for somebody.
    """
    reached: dict[tuple[str, int], int] = defaultdict(lambda: -1)
    known = {subject for event, (_, subject, _) in acknowledged.events.items() if event in every}
    for event in settled & acknowledged.events.keys():
        topic, partition, offset = acknowledged.events[event][0]
        reached[topic, partition] = max(reached[topic, partition], offset)
    pending: set[tuple[str, str, str]] = set()
    lost: dict[tuple[str, str, str], Unaccounted] = {}
    for event, (place, subject, study_uid) in acknowledged.events.items():
        if event in every or subject in known:
            continue
        topic, partition, offset = place
        if offset < reached[topic, partition] and place not in set_aside:
            lost[subject] = Unaccounted(subject[0], study_uid, subject[1], lost_after="ingest")
        else:
            pending.add(subject)
    return pending - lost.keys(), list(lost.values())


def balance(counts: dict[str, int], nowhere: list[Unaccounted], duplicates: int) -> Reconciliation:
    """The five classes out of the finer fates."""

    def total(*fates: str) -> int:
        return sum(counts.get(fate, 0) for fate in fates)

    return Reconciliation(
        acknowledged=sum(counts.values()),
        delivered=total("delivered"),
        waiting=total("under way", "unaddressed", "failed", "backlog"),
        quarantined=total("quarantined", "discarded"),
        refused=total("refused", "cancelled", "recalled"),
        expired=total("expired"),
        duplicates=duplicates,
        details=dict(sorted(counts.items())),
        unaccounted=[
            {
                "source": one.source,
                "study_uid": one.study_uid,
                "sop_instance_uid": one.sop_instance_uid,
                "lost_after": one.lost_after,
            }
            for one in nowhere
        ],
        balanced=total("unaccounted") == 0,
    )


async def read_acknowledged(reader: Reader) -> Acknowledged:
    """Every instance.received that Kafka keeps."""
    found = Acknowledged()
    async for record in reader.read(INSTANCE_TOPICS):
        if record.header("ce_type") not in {None, InstanceReceived.type_name()} or record.value is None:
            continue
        try:
            event = decode(record.value)
        except UndecodableEvent:
            found.unreadable += 1  # it becomes a dead letter, where a person sees it
            continue
        if isinstance(event, InstanceReceived):
            data = event.data
            place = (record.topic, record.partition, record.offset)
            subject = (data.source, data.sop_instance_uid, data.digest)
            found.events[event.id] = (place, subject, data.study_uid)
    return found


async def read_dead(reader: Reader) -> set[Place]:
    """Where the records were that have become dead letters of validation."""
    places: set[Place] = set()
    async for record in reader.read(DEAD_TOPICS):
        topic, partition, offset = (
            record.header(name) for name in ("dead_topic", "dead_partition", "dead_offset")
        )
        if topic and partition and offset and partition.isdecimal() and offset.isdecimal():
            places.add((topic, int(partition), int(offset)))
    return places
