"""A record that became a dead letter on the way: what was received is never passed over in silence."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from tests.integration.routing_world import AGREED, HOSPITALS, TO_B, Sending, World, routing_world

from imex.db.tables import routing as tables


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, HOSPITALS + AGREED + TO_B) as made:
        yield made


async def test_a_study_of_which_a_record_was_lost_is_not_delivered_but_partial(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2), sending.over(3))
    await world.quiet()
    await world.confirm_all()
    share = await world.share()
    assert share.state == "partial"
    assert share.reason == "1 of 3 instances missing: 1 received and not processed (see the dead letters)"


async def test_the_lost_record_put_back_makes_it_whole(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2), sending.over(3))
    await world.quiet()
    await world.confirm_all()
    await world.validated(*sending.accepted(3))
    assert (await world.share()).state == "delivering"
    await world.quiet()
    await world.confirm_all()
    assert (await world.share()).state == "delivered"


async def test_a_lost_repeat_put_back_makes_it_whole_at_once(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2), sending.over(3))
    await world.quiet()
    await world.confirm_all()
    await world.validated(*sending.again(1))
    assert (await world.share()).state == "delivered"


async def test_a_loss_that_shows_after_the_delivery_takes_it_back(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1))
    await world.quiet(1000)
    await world.confirm_all()
    assert (await world.share()).state == "delivered"
    await world.validated(sending.over(2))
    assert (await world.share()).state == "partial"


async def test_held_repeated_and_released_instances_are_no_loss(world: World) -> None:
    sending, entry = Sending(world), uuid4()
    await world.validated(*sending.accepted(1), *sending.again(1), sending.held(2, entry), sending.over(3))
    await world.validated(*sending.accepted(2, released=True, quarantine=entry))
    await world.quiet()
    await world.confirm_all()
    assert (await world.share()).state == "delivered"
    (study,) = await world.rows(tables.studies)
    assert study.lost == 0


async def test_each_association_is_counted_for_itself(world: World) -> None:
    first, second = Sending(world), Sending(world)
    # of the first more was published than acknowledged: it does not make up for the second
    await world.validated(*first.accepted(1, 2), first.over(1))
    await world.validated(*second.accepted(3), second.over(2))
    await world.quiet()
    await world.confirm_all()
    assert (await world.share()).state == "partial"
