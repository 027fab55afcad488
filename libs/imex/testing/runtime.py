"""Helpers for tests of what runs on `imex.runtime`."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

from aiokafka import AIOKafkaConsumer, TopicPartition

from imex.events.ids import root_traceparent
from imex.events.instances import AssociationEnded, AssociationEndedData
from imex.runtime.health import Component
from imex.runtime.kafka_client import connection
from imex.runtime.message import RawRecord
from imex.settings import KafkaSettings


@asynccontextmanager
async def running(*components: Component) -> AsyncIterator[None]:
    """Start components in order, and stop them in reverse whatever happens."""
    async with AsyncExitStack() as stack:
        for component in components:
            stack.push_async_callback(component.stop)
            await component.start()
        yield


async def until(condition: Callable[[], bool | Awaitable[bool]], within_s: float = 20.0) -> None:
    """Poll until `condition` holds.

    Raises:
        AssertionError: it does not within the deadline.
    """
    deadline = time.monotonic() + within_s
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come true within {within_s} s")
        await asyncio.sleep(0.02)


def sample_event(study: str = "1.2.3", number: int = 1, event_id: UUID | None = None) -> AssociationEnded:
    """An event of one study; `number` is in its count of instances."""
    now = datetime.now(UTC)
    return AssociationEnded.of(
        id=event_id or uuid4(),
        subject=study,
        time=now,
        traceparent=root_traceparent("RQM", study),
        data=AssociationEndedData(
            source="RQM",
            study_uid=study,
            association=uuid4(),
            lane="bulk",
            outcome="released",
            received=number,
            refused=0,
            started_at=now,
        ),
    )


async def read_all(
    settings: KafkaSettings, topic: str, at_least: int, within_s: float = 20.0
) -> list[RawRecord]:
    """Everything in a topic, by partition and offset, once there are `at_least` records."""
    client = AIOKafkaConsumer(**connection(settings, "test-reader"), auto_offset_reset="earliest")
    await client.start()
    try:
        await client._client._wait_on_metadata(topic)
        partitions = [TopicPartition(topic, each) for each in client.partitions_for_topic(topic) or ()]
        client.assign(partitions)
        await client.seek_to_beginning(*partitions)
        found: list[RawRecord] = []
        deadline = time.monotonic() + within_s
        while True:
            ends = await client.end_offsets(partitions)
            behind = [tp for tp in partitions if await client.position(tp) < ends[tp]]
            if len(found) >= at_least and not behind:
                return sorted(found, key=lambda record: (record.partition, record.offset))
            assert time.monotonic() < deadline, f"{len(found)} of {at_least} records in {topic}"
            for records in (await client.getmany(timeout_ms=100)).values():
                found += [
                    RawRecord(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
                    for r in records
                ]
    finally:
        await client.stop()
