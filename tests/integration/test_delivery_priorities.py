"""Who goes first, and what each priority keeps for itself."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
from tests.integration.delivery_world import Passage, World, delivery_world

from imex.delivery.leases import Leases
from imex.events import Priority
from imex.events.manifests import ManifestPrioritised, ManifestPrioritisedData
from imex.testing.dicom import synthetic_study

SLICES = synthetic_study(1, size=32).instances


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with delivery_world(empty_database_url) as made:
        yield made


def prioritised(passage: Passage, priority: Priority) -> ManifestPrioritised:
    data = ManifestPrioritisedData(**passage.about(), priority=priority, reason="it is late")
    return ManifestPrioritised.of(id=uuid4(), subject=str(passage.id), data=data)


async def test_a_delivery_that_was_raised_overtakes_those_that_came_before_it(world: World) -> None:
    first, second, late = (Passage("RT3") for _ in range(3))
    for passage in (first, second, late):
        await world.issue(passage, SLICES)
    await world.hand_in(prioritised(late, "urgent"))
    leases = Leases(world.database, "one", timedelta(seconds=15))
    [due] = await leases.due()
    taken = [job for _ in range(3) for job in await leases.claim(due, lambda used, priority: 1)]
    assert [job.id for job in taken] == [late.id, first.id, second.id]
    assert [job.priority for job in taken] == ["urgent", "routine", "routine"]


async def test_a_part_that_comes_late_makes_nothing_less_urgent(world: World) -> None:
    passage = Passage("RT3")
    await world.issue(passage, SLICES, close=False)
    await world.hand_in(prioritised(passage, "emergency"))
    await world.issue(passage, synthetic_study(1, size=32).instances)
    assert (await world.row(passage)).priority == "emergency"


async def test_a_priority_without_a_place_does_not_stand_before_one_that_has(world: World) -> None:
    emergency, routine = Passage("RT3", priority="emergency"), Passage("RT3")
    for passage in (emergency, routine):
        await world.issue(passage, SLICES)
    leases = Leases(world.database, "one", timedelta(seconds=15))
    [due] = await leases.due()
    [job] = await leases.claim(due, lambda used, priority: int(priority == "routine"))
    assert job.id == routine.id
