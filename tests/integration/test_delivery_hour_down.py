"""A destination that is away for an hour: what it costs, and how what waited gets through.

The schedule runs on a clock that the test moves; what is sent goes to a real receiver of DCMTK.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from tests.integration.delivery_world import Passage, World, delivery_world, storescp, until
from tests.integration.fake_time import FakeTime, fake_time

from imex.db.tables.delivery import attempts, deliveries
from imex.events import Priority
from imex.local.ports import free_ports
from imex.testing.dicom import synthetic_study

pytestmark = pytest.mark.alone

DOWN = timedelta(hours=1)
STEP = timedelta(seconds=60)
QUEUED: dict[Priority, int] = {"routine": 150, "urgent": 40, "emergency": 10}


@pytest.fixture
async def timed(empty_database_url: str) -> AsyncIterator[tuple[World, FakeTime]]:
    with fake_time(empty_database_url) as clock:
        async with delivery_world(empty_database_url) as world:
            yield world, clock


async def _queue(world: World, number: int, priority: Priority) -> list[Passage]:
    passages, events = [], []
    for _ in range(number):
        passage = Passage("RT3", priority=priority)
        events += await world.listed(passage, synthetic_study(2, size=32).instances)
        passages.append(passage)
    await world.hand_in(*events)
    return passages


async def _delivered(world: World, passages: Sequence[Passage], seconds: float) -> None:
    """Wait until all are."""
    ids = [passage.id for passage in passages]
    counted = select(func.count()).where(deliveries.c.id.in_(ids), deliveries.c.outcome == "delivered")

    async def count() -> Any:
        async with world.database.unit() as unit:
            return await unit.connection.scalar(counted)

    await until(count, lambda number: number == len(ids), seconds)


async def test_all_is_delivered_after_an_hour_in_order_and_at_the_normal_rate(
    timed: tuple[World, FakeTime], tmp_path: Path
) -> None:
    world, clock = timed
    [port] = free_ports(1)
    world.endpoint("RT3", port)
    async with world.working(default_associations=2):
        async with storescp(tmp_path, port=port):
            began = time.perf_counter()
            usual = await _queue(world, 40, "routine")
            await _delivered(world, usual, 30)
            normal = len(usual) / (time.perf_counter() - began)

        waiting: list[Passage] = []
        for priority, number in QUEUED.items():
            waiting += await _queue(world, number, priority)
        for _ in range(int(DOWN / STEP)):
            clock.pass_by(STEP)
            await asyncio.sleep(0.06)
        async with world.database.unit() as unit:
            in_vain = select(func.count()).where(attempts.c.outcome == "failed")
            tried = await unit.connection.scalar(in_vain) or 0
        assert tried <= DOWN / STEP + 20, "one for each step, not one for each delivery"
        assert tried >= 10, "it was asked all the time"

        async with storescp(tmp_path, port=port):
            clock.pass_by(timedelta(minutes=5))
            began = time.perf_counter()
            await _delivered(world, waiting, 60)
            drained = len(waiting) / (time.perf_counter() - began)
    print(f"normally {normal:.0f} studies/s, after the hour {drained:.0f}, {tried} attempts in vain")
    assert _images(tmp_path) == 2 * (40 + 200), "each image once"
    assert drained >= 0.7 * normal, "no slower than before, but for what else the machine does"
    order = await _order(world)
    last_emergency = max(place for place, one in enumerate(order) if one == "emergency")
    last_urgent = max(place for place, one in enumerate(order) if one == "urgent")
    assert last_emergency < QUEUED["emergency"] + 4, "all but the probe and what ran beside it"
    assert last_urgent < QUEUED["emergency"] + QUEUED["urgent"] + 8


def _images(folder: Path) -> int:
    return len(list(folder.iterdir()))


async def _order(world: World) -> list[str]:
    """Priorities of what was delivered after the hour, as it was begun."""
    async with world.database.unit() as unit:
        rows = await unit.connection.execute(
            select(deliveries.c.priority).order_by(deliveries.c.started_at).offset(40)
        )
        return [row.priority for row in rows]
