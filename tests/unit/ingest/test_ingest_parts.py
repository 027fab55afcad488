"""Lane memory, background publisher."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from imex.events import Event
from imex.events.audit import Actor, AuditRecorded, AuditRecordedData
from imex.ingest.background import BackgroundPublisher
from imex.ingest.lanes import LaneMemory
from imex.ingest.meters import Meters
from imex.observability.metrics import Metrics
from imex.testing.runtime import until


def record(reason: str = "", of: Literal["unknown", "institution"] = "unknown") -> AuditRecorded:
    return AuditRecorded.of(
        id=uuid4(),
        subject="s",
        time=datetime.now(UTC),
        data=AuditRecordedData(
            action="association_rejected",
            outcome="refused",
            actor=Actor(kind=of, id="X"),
            reason=reason,
        ),
    )


def test_a_lane_is_decided_once_and_forgotten_when_many_others_came() -> None:
    memory = LaneMemory(2)
    assert memory.lane("A", "1", lambda: "express") == "express"
    assert memory.lane("A", "1", lambda: "bulk") == "express"
    assert memory.lane("B", "1", lambda: "bulk") == "bulk"
    memory.lane("A", "1", lambda: "bulk")
    memory.lane("A", "2", lambda: "bulk")
    assert memory.lane("A", "1", lambda: "bulk") == "express"
    assert memory.lane("B", "1", lambda: "express") == "express"


async def test_background_events_are_published_again_until_they_arrive_in_order() -> None:
    arrived: list[Event[Any]] = []
    failures = 3

    async def publish(event: Event[Any]) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise ConnectionError
        arrived.append(event)

    background = BackgroundPublisher(publish, Meters(Metrics("ingest")))
    await background.start()
    events = [record(str(n)) for n in range(100)]
    for event in events:
        background.offer(event)
    await until(lambda: len(arrived) == 100)
    assert {event.id for event in arrived} == {event.id for event in events}
    assert background.waiting == 0
    await background.stop()


async def test_a_full_queue_drops_the_newest_and_counts_it() -> None:
    async def never(_event: Event[Any]) -> None:
        await asyncio.Event().wait()

    metrics = Metrics("ingest")
    background = BackgroundPublisher(never, Meters(metrics), most=2, drain_s=0.01)
    for _ in range(3):
        background.offer(record(of="institution"))
    assert background.waiting == 2
    await background.start()
    await background.stop()
    assert 'imex_ingest_background_dropped_total{type="imex.audit.recorded"} 3.0' in metrics.render().decode()


async def test_strangers_leave_room_in_the_queue_for_what_is_said_of_studies() -> None:
    async def never(_event: Event[Any]) -> None:
        await asyncio.Event().wait()

    background = BackgroundPublisher(never, Meters(Metrics("ingest")), most=4, drain_s=0.01)
    for _ in range(10):
        background.offer(record())
    assert background.waiting == 2
    for _ in range(10):
        background.offer(record(of="institution"))
    assert background.waiting == 4


async def test_stopping_waits_for_chores() -> None:
    done: list[int] = []

    async def chore() -> None:
        await asyncio.sleep(0.02)
        done.append(1)

    async def publish(_event: Event[Any]) -> None:
        return

    background = BackgroundPublisher(publish, Meters(Metrics("ingest")))
    await background.start()
    background.spawn(chore())
    await background.stop()
    assert done == [1]
