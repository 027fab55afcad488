"""What a person or the sender decides while a delivery is under way, against what its attempts still say."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from tests.integration.delivery_world import Passage, World, delivery_world, until

from imex.delivery.decide import Answer, Verdict
from imex.delivery.jobs import Due, Instance, Job, Outcome
from imex.delivery.leases import Leases
from imex.delivery.repository import Repository
from imex.dimse import StoreResponse
from imex.events.manifests import HeldInstance, ManifestAnnotated, ManifestAnnotatedData
from imex.local.ports import free_ports
from imex.testing.dicom import synthetic_study
from imex.testing.dimse import DimseRecorder, acceptor


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with delivery_world(empty_database_url) as made:
        yield made


def recalled(passage: Passage, uid: str) -> ManifestAnnotated:
    held = HeldInstance(
        quarantine=uuid4(),
        sop_instance_uid=uid,
        became="held",
        disputes=True,
        reason="recalled by RQM",
        at=datetime.now(UTC),
    )
    data = ManifestAnnotatedData(**passage.about(), revision=1, instances=(held,))
    return ManifestAnnotated.of(id=uuid4(), subject=str(passage.id), data=data)


async def test_what_was_recalled_after_it_had_failed_is_not_sent_by_a_retry(world: World) -> None:
    passage, sent = Passage("RT3"), synthetic_study(2, size=32)
    refusing = [True]
    receiver = DimseRecorder(on_store=lambda _: StoreResponse(0x0122, "no") if refusing[0] else None)
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "failed")
        bad = sent.instances[0].sop_instance_uid
        await world.hand_in(recalled(passage, bad))
        refusing[0] = False
        await world.hand_in(world.command(passage, "retry"))
        await until(lambda: world.row(passage), lambda row: row.state == "ended" and row.outcome != "failed")
        assert bad not in receiver.stored


async def lost_and_moved(world: World) -> tuple[Passage, Instance, Job]:
    """A job whose lease ran out, whose delivery was taken back and goes to another endpoint."""
    [port] = free_ports(1)
    sent = synthetic_study(1, size=32)
    passage = Passage("RT3", sent.study_uid)
    world.endpoint("RT3", port, confirm="query")
    world.another_endpoint("RT3", "archive", port)
    await world.issue(passage, sent.instances)
    slow = Leases(world.database, "one", timedelta(milliseconds=1))
    [job] = await slow.claim(Due("RT3", "pacs", False), lambda _used, _priority: 1)
    await asyncio.sleep(0.05)  # the lease is over
    assert await Leases(world.database, "two", timedelta(seconds=12)).recover() == 1
    await world.hand_in(world.command(passage, "reroute", "archive"))
    one = sent.instances[0]
    instance = Instance(one.sop_instance_uid, one.sop_class_uid, one.transfer_syntax, "", 0, one.digest, 0)
    return passage, instance, job


async def test_a_late_confirmation_says_where_it_went(world: World) -> None:
    passage, instance, job = await lost_and_moved(world)
    answer = Answer(Verdict.CONFIRMED, "0x0000")
    await Repository(world.database).record(job, [Outcome(instance, answer, datetime.now(UTC))])
    [row] = (await world.instances(passage)).values()
    assert (row.state, row.sent_to is not None) == ("confirmed", True)


async def test_a_late_refusal_settles_nothing_at_another_endpoint(world: World) -> None:
    passage, instance, job = await lost_and_moved(world)
    answer = Answer(Verdict.FAILED, "0x0122", "no")
    await Repository(world.database).record(job, [Outcome(instance, answer, datetime.now(UTC))])
    [row] = (await world.instances(passage)).values()
    assert row.state == "waiting"


async def test_a_late_answer_is_not_believed_of_another_endpoint(world: World) -> None:
    """The first endpoint is asked, so that its answer only means `sent`; the second one is not asked."""
    passage, instance, job = await lost_and_moved(world)
    answer = Answer(Verdict.SENT, "0x0000")
    await Repository(world.database).record(job, [Outcome(instance, answer, datetime.now(UTC))])
    second = DimseRecorder()
    async with acceptor(second) as node:
        world._institutions["RT3"]["endpoints"][1]["port"] = node.port
        world._apply()
        async with world.working():
            await world.until_outcome(passage, "delivered")
    assert second.stored
