"""Budget, lane memory, background publisher."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.events import Event
from imex.events.audit import Actor, AuditRecorded, AuditRecordedData
from imex.ingest.background import BackgroundPublisher
from imex.ingest.budget import Budget, BudgetExhausted, Reservation
from imex.ingest.lanes import LaneMemory
from imex.ingest.meters import Meters
from imex.observability.metrics import Metrics
from imex.testing.runtime import until


def record(reason: str = "") -> AuditRecorded:
    return AuditRecorded.of(
        id=uuid4(),
        subject="s",
        time=datetime.now(UTC),
        data=AuditRecordedData(
            action="association_rejected",
            outcome="refused",
            actor=Actor(kind="unknown", id="X"),
            reason=reason,
        ),
    )


async def test_a_budget_is_served_in_order_and_gives_up_in_time() -> None:
    budget = Budget(10)
    await budget.take(8, 1.0)
    first = asyncio.create_task(budget.take(6, 5.0))
    await asyncio.sleep(0)
    with pytest.raises(BudgetExhausted):
        await budget.take(1, 0.01)  # there is room, but another was first
    budget.give(8)
    await first
    assert budget.used == 6
    with pytest.raises(BudgetExhausted):
        await budget.take(11, 1.0)


async def test_a_wait_that_is_cancelled_takes_nothing() -> None:
    budget = Budget(10)
    await budget.take(10, 1.0)
    waiting = asyncio.create_task(budget.take(5, 5.0))
    behind = asyncio.create_task(budget.take(2, 5.0))
    await asyncio.sleep(0)
    waiting.cancel()
    budget.give(2)
    await behind
    budget.give(10)
    assert budget.used == 0


@given(st.lists(st.integers(0, 50), max_size=20))
def test_a_reservation_covers_up_to_its_most_and_gives_back_everything(received: list[int]) -> None:
    async def check() -> None:
        budget = Budget(100)
        held = Reservation(budget, most=30, step=7, within_s=1.0)
        total = 0
        for count in received:
            total += count
            await held.cover(total)
            assert min(total, 30) <= budget.used <= 30
        held.release()
        held.release()
        assert budget.used == 0

    asyncio.run(check())


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
        background.offer(record())
    assert background.waiting == 2
    await background.start()
    await background.stop()
    assert 'imex_ingest_background_dropped_total{type="imex.audit.recorded"} 3.0' in metrics.render().decode()


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
