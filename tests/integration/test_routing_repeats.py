"""However a stream is cut into batches, and however often parts of it come again, the end is the same."""

import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from tests.integration.routing_world import AGREED, HOSPITALS, TO_B, Sending, World, routing_world


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, HOSPITALS + AGREED + TO_B) as made:
        yield made


def cut(chance: random.Random, events: list[Any]) -> list[list[Any]]:
    """The events in batches of any size, in order, with earlier ones repeated among them."""
    batches: list[list[Any]] = []
    at = 0
    while at < len(events):
        size = chance.randint(1, 5)
        again = chance.sample(events[:at], min(at, chance.randint(0, 3)))
        batches.append(again + events[at : at + size])
        at += size
    return batches


@pytest.mark.parametrize("seed", range(4))
async def test_batches_and_repeats_do_not_matter(world: World, seed: int) -> None:
    chance = random.Random(seed)
    first, second, entry = Sending(world), Sending(world), uuid4()
    events = [
        *first.accepted(1, 2, 3),
        first.held(4, entry),
        *first.again(2),
        *second.accepted(5, 6),
        first.over(5),
        *first.accepted(4, released=True, quarantine=entry),
        second.over(2),
    ]
    for batch in cut(chance, events):
        await world.validated(*batch)
    await world.quiet()
    (part,) = world.parts()
    assert len(part.instances) == 6
    outcomes = [world.progressed(part, [one], {}) for one in part.instances]
    for batch in cut(chance, [*outcomes, world.completed(part, 6)]):
        await world.delivered(*batch)
    share = await world.share()
    assert (share.state, share.handed, share.confirmed, share.failed) == ("delivered", 6, 6, 0)
    assert world.partner_words() == [
        "requested",
        "accepted",
        "completed",
        "first_image_received",
        "delivered",
    ]
    steps = await world.steps()
    for step in ("received", "validated", "quarantined", "released", "repeated", "delivered"):
        assert steps.count(step) == 1, step
