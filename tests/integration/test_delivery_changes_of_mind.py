"""What a person or the sender decides while a delivery is under way, against what its attempts still say."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from tests.integration.delivery_world import Passage, World, delivery_world, until

from imex.db.tables import delivery as tables
from imex.delivery.confirming.commitment import is_answered
from imex.delivery.decide import Answer, Verdict
from imex.delivery.destinations import got_nothing_through
from imex.delivery.endings import Endings, Result
from imex.delivery.jobs import Due, Instance, Job, Outcome, job_of
from imex.delivery.leases import Leases
from imex.delivery.repository import Repository
from imex.dimse import StoreResponse
from imex.events.commands import DestinationCommanded, DestinationCommandedData
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


async def test_a_report_of_an_endpoint_that_was_left_ends_no_waiting(world: World) -> None:
    passage, _, job = await lost_and_moved(world)
    row = await world.row(passage)
    async with world.database.unit() as unit:
        left = {"transaction_uid": "1.2.3", "delivery": passage.id, "recipient": "RT3", "endpoint": "pacs"}
        answered = {"uids": [], "until": func.now(), "answered_at": func.now()}
        await unit.connection.execute(insert(tables.commitments).values(**left, **answered))
        assert await is_answered(unit, job)
        assert not await is_answered(unit, job_of(row)), "it would ask the archive again and again"


async def test_what_was_recalled_after_it_was_sent_goes_to_no_other_endpoint(world: World) -> None:
    sent = synthetic_study(2, size=32)
    passage, second = Passage("RT3", sent.study_uid), DimseRecorder()
    bad = sent.instances[0].sop_instance_uid
    async with acceptor(second) as node, world.working():
        world.endpoint("RT3", node.port)
        world.another_endpoint("RT3", "archive", node.port)
        await world.steer("RT3", "pause")
        await world.issue(passage, sent.instances)
        async with world.database.unit() as unit:
            handed_over = {"state": "sent", "confirmation": "answer", "at": func.now()}
            await unit.connection.execute(update(tables.instances).values(handed_over))
        await world.hand_in(recalled(passage, bad))
        await world.hand_in(world.command(passage, "reroute", "archive"))
        await until(lambda: world.row(passage), lambda row: row.state == "ended")
    assert set(second.stored) == {sent.instances[1].sop_instance_uid}


async def test_a_delivery_that_was_tried_again_while_it_ran_does_not_expire(world: World) -> None:
    passage, sent = Passage("RT3"), synthetic_study(1, size=32)
    world.endpoint("RT3", free_ports(1)[0])
    await world.issue(passage, sent.instances)
    async with world.database.unit() as unit:
        soon = datetime.now(UTC) + timedelta(seconds=0.2)
        await unit.connection.execute(update(tables.deliveries).values(expires_at=soon))
    leases = Leases(world.database, "one", timedelta(seconds=12))
    [job] = await leases.claim(Due("RT3", "pacs", False), lambda _used, _priority: 1)
    await world.hand_in(world.command(passage, "retry"))
    settled = await Endings(world.database, world.signer).settle(
        replace(job, expires_at=datetime.now(UTC)), Result(reason="connection refused")
    )
    assert settled.state == "waiting"


async def test_a_probe_that_learnt_nothing_leaves_its_destination_alone_for_a_while(world: World) -> None:
    passage, sent = Passage("RT3"), synthetic_study(1, size=32)
    world.endpoint("RT3", free_ports(1)[0])
    await world.issue(passage, sent.instances)
    now = datetime.now(UTC)
    async with world.database.unit() as unit:
        away = {"failures": 9, "failing_since": now - timedelta(hours=5), "failed_at": now, "probe_at": now}
        await unit.connection.execute(update(tables.destinations).values(away))
    leases = Leases(world.database, "one", timedelta(seconds=12))
    [job] = await leases.claim(Due("RT3", "pacs", False), lambda _used, _priority: 1)
    assert job.probe
    await Endings(world.database, world.signer).settle(job, Result(reason="it knows nothing of it"))
    assert (await world.destination("RT3")).probe_at > datetime.now(UTC) + timedelta(minutes=5)


async def test_a_reroute_takes_along_what_was_refused_before_the_attempt_could_stop(world: World) -> None:
    """Every image fails while the reroute waits for the attempt to end: there is nothing left to send."""
    passage, sent = Passage("RT3"), synthetic_study(2, size=32)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def refusing(_: object) -> StoreResponse:
        asked.set()
        await go_on.wait()
        return StoreResponse(0x0122, "no")

    second = DimseRecorder()
    async with acceptor(DimseRecorder(on_commit=refusing)) as one, acceptor(second) as two, world.working():
        world.endpoint("RT3", one.port)
        world.another_endpoint("RT3", "archive", two.port)
        await world.issue(passage, sent.instances)
        await asked.wait()
        await world.hand_in(world.command(passage, "reroute", "archive"))
        go_on.set()
        row = await world.until_outcome(passage, "delivered")
    assert (row.endpoint, row.reroute_to) == ("archive", None)
    assert len(second.stored) == 2
    assert len(await world.receipts(passage)) == 1


async def test_a_reroute_of_what_is_delivered_meanwhile_is_forgotten(world: World) -> None:
    passage, sent = Passage("RT3"), synthetic_study(1, size=32)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: object) -> StoreResponse:
        asked.set()
        await go_on.wait()
        return StoreResponse()

    async with acceptor(DimseRecorder(on_commit=slow)) as one, world.working():
        world.endpoint("RT3", one.port)
        world.another_endpoint("RT3", "archive", free_ports(1)[0])
        await world.issue(passage, sent.instances)
        await asked.wait()
        await world.hand_in(world.command(passage, "reroute", "archive"))
        go_on.set()
        row = await world.until_outcome(passage, "delivered")
    assert (row.endpoint, row.reroute_to) == ("pacs", None)


def for_the_destination(recipient: str) -> DestinationCommanded:
    data = DestinationCommandedData(
        command="retry", recipient=recipient, endpoint="pacs", reason="mended", actor="kim"
    )
    return DestinationCommanded.of(id=uuid4(), subject=f"{recipient}/pacs", data=data)


async def waits_for_a_lock(world: World) -> int:
    async with world.database.look() as connection:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return int(await connection.scalar(text(waiting)) or 0)


async def failing_at(world: World, *recipients: str) -> list[Passage]:
    """A delivery to each, and destinations that were not reached."""
    passages = [Passage(recipient) for recipient in recipients]
    for passage in passages:
        world.endpoint(passage.recipient, free_ports(1)[0])
        await world.issue(passage, synthetic_study(1, size=32).instances)
    async with world.database.unit() as unit:
        await unit.connection.execute(update(tables.destinations).values(failures=1, failed_at=func.now()))
    return passages


async def test_a_batch_about_a_delivery_and_its_destination_waits_for_an_attempt_that_ends(
    world: World,
) -> None:
    [passage] = await failing_at(world, "RT3")
    leases = Leases(world.database, "one", timedelta(seconds=12))
    [job] = await leases.claim(Due("RT3", "pacs", False), lambda _used, _priority: 1)
    async with world.database.unit() as ending:
        await ending.connection.execute(select(tables.deliveries).with_for_update())
        commands = asyncio.create_task(
            world.hand_in(for_the_destination("RT3"), world.command(passage, "retry"))
        )
        await until(lambda: waits_for_a_lock(world), lambda number: number == 1)
        now = datetime.now(UTC)
        async with asyncio.timeout(5):
            await got_nothing_through(ending, job, reason="no", place="", now=now, draw=0.0, not_before=now)
    await commands
    assert (await world.destination("RT3")).failures == 0


async def test_two_batches_about_the_same_destinations_wait_in_one_direction(world: World) -> None:
    one, two, three, four = await failing_at(world, "RT3", "RW6", "RW6", "RT3")
    async with world.database.unit() as first:
        there = tables.destinations.c.recipient == "RT3"
        await first.connection.execute(select(tables.destinations).where(there).with_for_update())
        batches = [
            asyncio.create_task(world.hand_in(*(world.command(passage, "retry") for passage in passages)))
            for passages in ((one, two), (three, four))
        ]
        await until(lambda: waits_for_a_lock(world), lambda number: number == 2)
    await asyncio.gather(*batches)
