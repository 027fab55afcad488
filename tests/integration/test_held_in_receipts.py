"""What is in quarantine or was discarded there is in the signed receipt, which is not complete then."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import pytest
from tests.integration import delivery_world as carrying
from tests.integration.routing_world import AGREED, HOSPITALS, TO_B, Sending, World, routing_world

from imex.events.manifests import HeldInstance, ManifestAnnotated, ManifestAnnotatedData, ManifestClosed
from imex.testing.dicom import synthetic_study
from imex.testing.dimse import DimseRecorder, acceptor

Became = Literal["held", "discarded", "released"]
NOW = datetime(2026, 4, 1, 10, tzinfo=UTC)


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with routing_world(empty_database_url, HOSPITALS + AGREED + TO_B) as made:
        yield made


def told(world: World) -> list[tuple[int, list[str]]]:
    """Revision and what became of the held instances, as delivery hears it."""
    return [
        (event.data.revision, [one.became for one in event.data.instances])
        for event in world.said(ManifestAnnotated)
    ]


def revisions(world: World) -> list[int]:
    return [event.data.revision for event in world.said(ManifestClosed)]


async def test_each_change_in_quarantine_closes_a_new_revision(world: World) -> None:
    sending, first, second = Sending(world), uuid4(), uuid4()
    await world.validated(*sending.accepted(1), sending.held(2, first), sending.over(2))
    await world.quiet()
    await world.confirm_all()
    assert (told(world), revisions(world)) == ([(1, ["held"])], [1])
    await world.validated(sending.held(3, second))
    await world.validated(sending.discarded(2, first))
    assert told(world)[1:] == [(2, ["held", "held"]), (3, ["discarded", "held"])]
    assert revisions(world) == [1, 2, 3]
    await world.validated(*sending.accepted(3, released=True, quarantine=second))
    await world.quiet()
    assert told(world)[3:] == [(4, ["discarded", "released"])]
    assert revisions(world) == [1, 2, 3, 4]


async def test_nothing_is_said_of_a_study_without_findings(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.over(1))
    await world.quiet()
    assert (told(world), revisions(world)) == ([], [1])


async def test_what_is_held_before_the_study_is_complete_waits_for_that(world: World) -> None:
    sending = Sending(world)
    await world.validated(*sending.accepted(1), sending.held(2, uuid4()))
    assert (told(world), revisions(world)) == ([], [])


@pytest.fixture
async def delivery(empty_database_url: str) -> AsyncIterator[carrying.World]:
    async with carrying.delivery_world(empty_database_url) as made:
        yield made


def held(passage: carrying.Passage, entry: UUID, became: Became) -> ManifestAnnotated:
    one = HeldInstance(
        quarantine=entry, sop_instance_uid="1.2.3.99", became=became, reason="bad check digit", at=NOW
    )
    return ManifestAnnotated.of(
        id=uuid4(),
        subject=str(passage.id),
        data=ManifestAnnotatedData(**passage.about(), revision=passage.revision + 1, instances=(one,)),
    )


async def newest(delivery: carrying.World, passage: carrying.Passage, count: int) -> dict[str, Any]:
    found = await carrying.until(lambda: delivery.receipts(passage), lambda receipts: len(receipts) == count)
    document: dict[str, Any] = found[-1].document
    return document


async def test_the_signed_receipt_names_it_and_is_not_complete(delivery: carrying.World) -> None:
    study, passage, entry = synthetic_study(2, size=32), carrying.Passage("RT3"), uuid4()
    async with acceptor(DimseRecorder()) as node, delivery.working():
        delivery.endpoint("RT3", node.port)
        await delivery.issue(passage, study.instances)
        assert (await newest(delivery, passage, 1))["complete"] is True
        steps: list[tuple[int, Became]] = [(2, "held"), (3, "discarded")]
        for revision, became in steps:
            await delivery.hand_in(held(passage, entry, became), delivery.closing(passage))
            document = await newest(delivery, passage, revision)
            assert (document["revision"], document["complete"]) == (revision, False)
            (line,) = [one for one in document["instances"] if one["digest"] is None]
            assert (line["sop_instance_uid"], line["status"]) == ("1.2.3.99", became)
        await delivery.hand_in(held(passage, entry, "released"), delivery.closing(passage))
        document = await newest(delivery, passage, 4)
    assert (document["complete"], len(document["instances"])) == (True, 2)


async def test_a_copy_in_dispute_is_not_sent_until_the_other_is_discarded(delivery: carrying.World) -> None:
    study, passage, entry = synthetic_study(2, size=32), carrying.Passage("RT3"), uuid4()
    disputed = study.instances[1].sop_instance_uid
    node = DimseRecorder()

    def said(became: Became) -> ManifestAnnotated:
        event = held(passage, entry, became)
        one = event.data.instances[0].model_copy(update={"sop_instance_uid": disputed, "disputes": True})
        return event.model_copy(update={"data": event.data.model_copy(update={"instances": (one,)})})

    async with acceptor(node) as listening:
        delivery.endpoint("RT3", listening.port)
        await delivery.issue(passage, study.instances)
        await delivery.hand_in(said("held"), delivery.closing(passage))
        async with delivery.working():
            found = await carrying.until(
                lambda: delivery.receipts(passage),
                lambda all_: bool(all_) and len(all_[-1].document["instances"]) == 2,
            )
            lines = {one["sop_instance_uid"]: one["status"] for one in found[-1].document["instances"]}
            assert lines[disputed] == "held"
            assert found[-1].document["complete"] is False
            await delivery.hand_in(said("discarded"), delivery.closing(passage))
            await carrying.until(
                lambda: delivery.receipts(passage),
                lambda all_: (
                    (disputed, "confirmed")
                    in {(one["sop_instance_uid"], one["status"]) for one in all_[-1].document["instances"]}
                ),
            )
