"""Two copies under one SOP Instance UID: neither leaves until a person decides, and what left stays."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.routing_world import AGREED, HOSPITALS, TO_B, Sending, World, routing_world

from imex.events.manifests import ManifestAnnotated
from imex.events.validations import InstanceQuarantined

OTHER = "sha256:" + "ee" * 32


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, HOSPITALS + AGREED + TO_B) as made:
        yield made


def disputing(sending: Sending, number: int, entry: UUID) -> InstanceQuarantined:
    event = sending.held(number, entry, "other data was received before")
    data = event.data.model_copy(update={"disputes": uuid4(), "digest": OTHER})
    return event.model_copy(update={"data": data})


def handed(world: World) -> list[tuple[str, str]]:
    return [(one.sop_instance_uid, one.digest) for part in world.parts() for one in part.instances]


def chosen(sending: Sending, number: int, entry: UUID) -> Any:
    return sending.accepted(number, digest=OTHER, released=True, quarantine=entry, replaces=uuid4())


async def test_the_first_copy_does_not_leave_while_another_waits(world: World) -> None:
    sending, entry = Sending(world), uuid4()
    await world.validated(*sending.accepted(1, 2), disputing(sending, 2, entry), sending.over(3))
    await world.quiet()
    assert [uid for uid, _ in handed(world)] == ["1.2.3.1.1"]
    await world.confirm_all()
    share = await world.share()
    assert share.state == "partial"
    assert "1 in quarantine" in share.reason


async def test_it_leaves_when_the_other_is_discarded(world: World) -> None:
    sending, entry = Sending(world), uuid4()
    await world.validated(*sending.accepted(1, 2), disputing(sending, 2, entry), sending.over(3))
    await world.quiet()
    await world.confirm_all()
    await world.validated(sending.discarded(2, entry))
    await world.quiet()
    assert handed(world)[1:] == [("1.2.3.1.2", f"sha256:{2:064x}")]


async def test_the_other_leaves_in_its_place_when_a_person_chooses_it(world: World) -> None:
    sending, entry = Sending(world), uuid4()
    await world.validated(*sending.accepted(1, 2), disputing(sending, 2, entry), sending.over(3))
    await world.quiet()
    await world.confirm_all()
    await world.validated(*chosen(sending, 2, entry))
    await world.quiet()
    assert handed(world)[1:] == [("1.2.3.1.2", OTHER)]
    await world.confirm_all()
    assert (await world.share()).state == "delivered"


async def test_what_was_handed_over_and_not_sent_is_held_and_then_replaced(world: World) -> None:
    sending, entry = Sending(world), uuid4()
    await world.validated(*sending.accepted(1, 2), sending.over(2))
    await world.quiet()
    await world.validated(disputing(sending, 2, entry))
    (told,) = world.said(ManifestAnnotated)
    assert [(one.became, one.disputes) for one in told.data.instances] == [("held", True)]
    await world.validated(*chosen(sending, 2, entry))
    await world.quiet()
    assert handed(world)[2:] == [("1.2.3.1.2", OTHER)]
    assert "replaced" in await world.steps()


async def test_what_was_delivered_stays_delivered(world: World) -> None:
    sending, entry = Sending(world), uuid4()
    await world.validated(*sending.accepted(1, 2), sending.over(2))
    await world.quiet()
    await world.confirm_all()
    await world.validated(disputing(sending, 2, entry))
    assert (await world.share()).state == "partial"
    await world.validated(*chosen(sending, 2, entry))
    await world.quiet()
    assert len(handed(world)) == 2
    assert (await world.share()).state == "delivered"


async def test_a_header_revision_that_replaces_goes_where_the_first_had_not_gone(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1, 2))
    await world.validated(*sending.accepted(2, digest=OTHER, replaces=uuid4()), sending.over(3))
    await world.quiet()
    assert dict(handed(world))["1.2.3.1.2"] == OTHER
    assert (await world.share()).handed == 2
