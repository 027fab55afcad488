"""A record of a manifest that cannot be handled: the delivery says so, and goes on when it is replayed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.integration.delivery_world import Passage, World, delivery_world, uids, until

from imex.delivery.losses import mark_lost
from imex.events import Event
from imex.events.deliveries import DeliveryEnded
from imex.runtime.message import RawRecord
from imex.testing.dicom import synthetic_study
from imex.testing.dimse import DimseRecorder, acceptor


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with delivery_world(empty_database_url) as made:
        yield made


async def lose(world: World, event: Event[Any], value: bytes | None = None) -> None:
    raw = RawRecord("manifests.bulk", 0, 7, 0, event.key.encode(), event.encode() if value is None else value)
    async with world.database.unit() as unit:
        await mark_lost(raw, "out of luck", unit)
    world.bell.ring()


@pytest.mark.parametrize("value", [None, b"not readable"])
async def test_what_came_is_sent_and_the_rest_is_named_until_it_is_replayed(
    world: World, value: bytes | None
) -> None:
    receiver, first, second, passage = (
        DimseRecorder(),
        synthetic_study(3, size=32),
        synthetic_study(2, size=32),
        Passage("RT3"),
    )
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(passage, first.instances, close=False)
        await until(lambda: world.row(passage), lambda row: row.state == "idle")
        [lost, closing] = await world.listed(passage, second.instances)
        await lose(world, lost, value)
        row = await world.until_outcome(passage, "failed")
        assert "could not be handled" in row.reason
        assert "out of luck" in row.reason
        await world.hand_in(closing)
        await until(lambda: world.events(DeliveryEnded), lambda found: len(found) == 2)
        await world.hand_in(lost)
        await world.until_outcome(passage, "delivered")
    assert set(receiver.stored) == uids(first.instances) | uids(second.instances)
    [receipt] = await world.receipts(passage)
    assert receipt.document["complete"] is True


async def test_a_delivery_of_which_nothing_else_was_heard_fails_too(world: World) -> None:
    passage = Passage("RT3")
    async with world.working():
        world.endpoint("RT3", 1)
        [lost, _] = await world.listed(passage, synthetic_study(1, size=32).instances)
        await lose(world, lost)
        await world.until_outcome(passage, "failed")
    [ended] = await world.events(DeliveryEnded)
    assert (ended.data.outcome, ended.data.confirmed) == ("failed", 0)


async def test_what_is_delivered_stays_so_until_more_is_expected(world: World) -> None:
    receiver, passage = DimseRecorder(), Passage("RT3")
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(passage, synthetic_study(1, size=32).instances)
        await world.until_outcome(passage, "delivered")
        [lost, closing] = await world.listed(passage, synthetic_study(1, size=32).instances)
        await lose(world, lost)
        await until(lambda: world.row(passage), lambda row: row.state == "ended" and row.lost)
        assert (await world.row(passage)).outcome == "delivered"
        await world.hand_in(closing)
        await world.until_outcome(passage, "failed")


async def test_records_of_other_topics_are_not_ours(world: World) -> None:
    async with world.database.unit() as unit:
        await mark_lost(RawRecord("commands", 0, 1, 0, b"RQM/1.2", b"x"), "why", unit)
        await mark_lost(RawRecord("manifests.bulk", 0, 1, 0, b"no key of ours", b"x"), "why", unit)
