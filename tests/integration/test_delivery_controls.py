"""Operators and dead destinations: pauses, other endpoints, the circuit breaker, and whose turn it is."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from tests.integration.delivery_world import Passage, World, delivery_world, uids, until

from imex.db.tables import delivery as tables
from imex.db.tables.delivery import deliveries, destinations
from imex.delivery.controls import tell_waiting
from imex.delivery.decide import BREAKER_DELIVERIES
from imex.delivery.destinations import got_nothing_through
from imex.delivery.endings import Endings, Result
from imex.delivery.jobs import Due
from imex.delivery.leases import Leases
from imex.dimse import StoreCommand, StoreResponse
from imex.directory.index import local_time
from imex.events.deliveries import DeliveryAttempted, DeliverySteered
from imex.local.ports import free_ports
from imex.testing.dicom import SyntheticStudy, synthetic_study
from imex.testing.dimse import DimseRecorder, acceptor


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with delivery_world(empty_database_url) as made:
        yield made


def study(slices: int) -> SyntheticStudy:
    return synthetic_study(slices, size=32)


class Slow:
    """A receiver that stores so many at once, and then waits until it is let go on."""

    def __init__(self, at_once: int) -> None:
        self.left = at_once
        self.open = asyncio.Event()

    async def commit(self, _: StoreCommand) -> StoreResponse:
        if self.left <= 0:
            await self.open.wait()
        self.left -= 1
        return StoreResponse()


async def _told(world: World) -> list[tuple[str, bool]]:
    return [(one.data.command, one.data.whole_destination) for one in await world.events(DeliverySteered)]


async def test_a_delivery_that_runs_is_paused_and_goes_on_where_it_stopped(world: World) -> None:
    passage, slow = Passage("RT3"), Slow(3)
    receiver = DimseRecorder(on_commit=slow.commit)
    sent = study(12)
    async with acceptor(receiver) as node, world.working(lease_s=1.0):
        world.endpoint("RT3", node.port)
        await world.issue(passage, sent.instances)
        await receiver.wait(lambda: len(receiver.commands) == 4)
        await world.hand_in(world.command(passage, "pause"))
        await asyncio.sleep(0.3)  # the leases are renewed
        slow.open.set()
        row = await until(lambda: world.row(passage), lambda row: row.state == "waiting")
        assert row.paused is not None
        got = len(receiver.stored)
        assert 4 <= got < 12
        await asyncio.sleep(0.3)
        assert len(receiver.stored) == got
        await world.hand_in(world.command(passage, "resume"))
        await world.until_outcome(passage, "delivered")
    assert len(receiver.commands) == 12, "nothing was sent twice"
    assert await _told(world) == [("pause", False), ("resume", False)]
    first = (await world.events(DeliveryAttempted))[0]
    assert first.data.reason == "stopped: the delivery was paused"


async def test_nothing_goes_to_a_paused_destination_and_every_share_there_is_told(world: World) -> None:
    receiver = DimseRecorder()
    early, late, other = Passage("RT3"), Passage("RT3", priority="emergency"), Passage("RXX")
    async with acceptor(receiver) as node:
        world.endpoint("RT3", node.port)
        world.endpoint("RXX", node.port)
        await world.issue(early, study(2).instances)
        await world.steer("RT3", "pause")
        await world.issue(late, study(2).instances)
        async with world.database.unit() as unit:  # said again, it is the same
            await tell_waiting(unit, [late.id])
        async with world.working():
            await world.issue(other, study(2).instances)
            await world.until_outcome(other, "delivered")
            assert len(receiver.stored) == 2
            told = await world.events(DeliverySteered)
            assert {one.data.delivery for one in told} == {early.id, late.id}
            assert len({one.id for one in told if one.data.delivery == late.id}) == 1
            assert {(one.data.reason, one.data.actor) for one in told} == {("maintenance", "kim")}
            await world.steer("RT3", "resume")
            for passage in (early, late):
                await world.until_outcome(passage, "delivered")
    assert (await world.destination("RT3")).paused is None


async def test_what_runs_stops_when_its_destination_is_paused(world: World) -> None:
    passage, slow = Passage("RT3"), Slow(2)
    receiver = DimseRecorder(on_commit=slow.commit)
    async with acceptor(receiver) as node, world.working(lease_s=1.0):
        world.endpoint("RT3", node.port)
        await world.issue(passage, study(12).instances)
        await receiver.wait(lambda: len(receiver.commands) == 3)
        await world.steer("RT3", "pause")
        await asyncio.sleep(0.6)  # the leases are renewed
        slow.open.set()
        await until(lambda: world.row(passage), lambda row: row.state == "waiting")
        assert 3 <= len(receiver.stored) < 12
        [attempt] = await world.events(DeliveryAttempted)
        assert attempt.data.reason == "stopped: the destination was paused"
        await world.steer("RT3", "resume")
        await world.until_outcome(passage, "delivered")
    assert len(receiver.commands) == 12


async def test_what_waits_at_a_paused_destination_still_expires(world: World) -> None:
    passage = Passage("RT3")
    world.endpoint("RT3", 1)
    await world.issue(passage, study(1).instances)
    await world.steer("RT3", "pause")
    async with world.database.unit() as unit:
        await unit.connection.execute(update(deliveries).values(expires_at=datetime.now(UTC)))
    async with world.working():
        row = await world.until_outcome(passage, "expired")
    assert row.attempts == 0


async def test_a_receipt_does_not_wait_for_a_paused_destination(world: World) -> None:
    passage, receiver = Passage("RT3"), DimseRecorder()
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(passage, study(2).instances, close=False)
        await until(lambda: world.row(passage), lambda row: row.state == "idle")
        await world.steer("RT3", "pause")
        await world.hand_in(world.closing(passage))
        await world.until_outcome(passage, "delivered")


async def test_the_rest_goes_to_another_endpoint_and_the_receipt_says_what_went_where(world: World) -> None:
    passage, slow = Passage("RT3"), Slow(3)
    first, second = DimseRecorder(on_commit=slow.commit), DimseRecorder()
    sent = study(8)
    async with acceptor(first) as one, acceptor(second) as two, world.working(lease_s=1.0):
        world.endpoint("RT3", one.port)
        world.another_endpoint("RT3", "archive", two.port)
        await world.issue(passage, sent.instances)
        await first.wait(lambda: len(first.commands) == 4)
        await world.hand_in(world.command(passage, "reroute", "archive"))
        assert (await world.row(passage)).reroute_to == "archive"
        await asyncio.sleep(0.3)
        slow.open.set()
        row = await world.until_outcome(passage, "delivered")
    assert (row.endpoint, row.ae_title) == ("archive", "RT3_ARCHIVE")
    assert set(first.stored) | set(second.stored) == uids(sent.instances)
    assert not set(first.stored) & set(second.stored)
    [receipt] = await world.receipts(passage)
    assert receipt.document["destination"]["endpoint"] == "archive"
    elsewhere = {
        line["sop_instance_uid"]: line["sent_to"]
        for line in receipt.document["instances"]
        if "sent_to" in line
    }
    assert set(elsewhere) == set(first.stored)
    assert {one["endpoint"] for one in elsewhere.values()} == {"pacs"}
    assert receipt.document["complete"]
    [told] = await world.events(DeliverySteered)
    assert (told.data.command, told.data.from_endpoint, told.data.endpoint) == ("reroute", "pacs", "archive")


async def test_a_failed_delivery_is_rerouted_with_what_had_failed(world: World) -> None:
    passage = Passage("RT3")
    refusing = DimseRecorder(on_store=lambda _: StoreResponse(0x0122, "no"))
    second = DimseRecorder()
    async with acceptor(refusing) as one, acceptor(second) as two, world.working():
        world.endpoint("RT3", one.port)
        world.another_endpoint("RT3", "archive", two.port)
        await world.issue(passage, study(2).instances)
        await world.until_outcome(passage, "failed")
        await world.hand_in(world.command(passage, "reroute", "archive"))
        await world.until_outcome(passage, "delivered")
    assert len(second.stored) == 2


QUEUE = text(
    """
    WITH made AS (
        INSERT INTO delivery.deliveries (id, share, source, study_uid, recipient, endpoint, lane, priority,
               directory_version, state, next_attempt_at, created_at, expires_at)
        SELECT gen_random_uuid(), gen_random_uuid(), :source, '1.2.' || n, :recipient, 'pacs', 'bulk',
               :priority, '', 'waiting', now(), now() - interval '1 hour' + n * interval '1 ms',
               now() + interval '1 day'
          FROM generate_series(1, :number) AS n
        RETURNING id
    ), listed AS (
        INSERT INTO delivery.queues (recipient, endpoint, source) VALUES (:recipient, 'pacs', :source)
        ON CONFLICT DO NOTHING
    ), place AS (
        INSERT INTO delivery.destinations (recipient, endpoint) VALUES (:recipient, 'pacs')
        ON CONFLICT DO NOTHING
    )
    INSERT INTO delivery.instances (delivery, sop_instance_uid, part, sop_class_uid, transfer_syntax,
           object_key, size, digest)
    SELECT id, '1.2.3', 1, '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1', 'none', 10, '' FROM made
    """
)


async def queue(
    world: World, number: int, source: str = "RQM", recipient: str = "RT3", priority: str = "routine"
) -> None:
    """Put deliveries of one instance into a destination's queue."""
    async with world.database.unit() as unit:
        await unit.connection.execute(
            QUEUE, {"number": number, "source": source, "recipient": recipient, "priority": priority}
        )


async def _attempts(world: World) -> int:
    async with world.database.unit() as unit:
        return int(await unit.connection.scalar(select(func.sum(deliveries.c.attempts))) or 0)


async def test_a_dead_destination_costs_an_attempt_for_each_step_whatever_waits(world: World) -> None:
    [dead] = free_ports(1)
    world.endpoint("RT3", dead)
    await queue(world, 5000)
    async with world.working(), world.working("two"):
        await until(lambda: world.destination("RT3"), lambda row: row.probe_at is not None)
        opened = await _attempts(world)
        assert opened <= BREAKER_DELIVERIES + 3, "as many as were under way"
        await until(lambda: world.destination("RT3"), lambda row: row.failures >= opened + 1)
        began, before = asyncio.get_running_loop().time(), await _attempts(world)
        await asyncio.sleep(1.0)
        assert await _attempts(world) <= before + 1
        assert asyncio.get_running_loop().time() - began < 5
        tried = select(func.count()).where(deliveries.c.attempts > 0)
        async with world.database.unit() as unit:
            assert await unit.connection.scalar(tried) == opened, "those that have failed take turns"


async def test_what_is_not_reached_is_found_back_by_one_and_all_go_on(world: World) -> None:
    [port] = free_ports(1)
    world.endpoint("RT3", port)
    passages = [Passage("RT3") for _ in range(6)]
    receiver = DimseRecorder()
    async with world.working():
        for passage in passages:
            await world.issue(passage, study(2).instances)
        await until(lambda: world.destination("RT3"), lambda row: row.probe_at is not None)
        async with acceptor(receiver, port=port):
            await world.steer("RT3", "retry")
            for passage in passages:
                await world.until_outcome(passage, "delivered")
    row = await world.destination("RT3")
    assert (row.failures, row.probe_at, row.failed_by) == (0, None, [])


async def test_a_destination_that_says_when_is_not_asked_before(world: World) -> None:
    await queue(world, 4)
    leases = Leases(world.database, "one", timedelta(seconds=15))
    jobs = await leases.claim(Due("RT3", "pacs", emergency=False), lambda *_: 4)
    now = datetime.now(UTC)
    for job in jobs:
        async with world.database.unit() as unit:
            await got_nothing_through(
                unit, job, reason="503", place="", now=now, draw=0.0, not_before=now + timedelta(minutes=7)
            )
    row = await world.destination("RT3")
    assert len(row.failed_by) == BREAKER_DELIVERIES
    assert row.probe_at == now + timedelta(minutes=7)


async def test_however_many_have_failed_each_asks_within_a_minute(world: World) -> None:
    await queue(world, 12)
    leases = Leases(world.database, "one", timedelta(seconds=15))
    endings = Endings(world.database, world.signer)
    jobs = await leases.claim(Due("RT3", "pacs", emergency=False), lambda *_: 12)
    for job in jobs:
        await endings.settle(job, Result(reason="connection refused", away=True))
    row = await world.destination("RT3")
    assert row.probe_at - row.failed_at <= timedelta(seconds=60 / 12)
    asked = []
    for _ in range(12):
        async with world.database.unit() as unit:
            await unit.connection.execute(update(destinations).values(probe_at=func.now()))
        [job] = await leases.claim(Due("RT3", "pacs", emergency=False), lambda *_: 12)
        asked.append(job.id)
        await endings.settle(job, Result(reason="connection refused", away=True))
    assert set(asked) == {job.id for job in jobs}, "in turn"


async def test_an_emergency_need_not_wait_for_the_next_probe(world: World) -> None:
    await queue(world, 10)
    await queue(world, 1, priority="emergency")
    leases = Leases(world.database, "one", timedelta(seconds=15))
    now = datetime.now(UTC)
    away = {"failures": 9, "failed_by": [], "failed_reason": "connection refused"}

    async def claimed(failed_ago: float) -> list[tuple[str, bool]]:
        values = {
            **away,
            "failed_at": now - timedelta(seconds=failed_ago),
            "probe_at": now + timedelta(minutes=20),
        }
        async with world.database.unit() as unit:
            await unit.connection.execute(update(destinations).values(values))
        found: list[tuple[str, bool]] = []
        for due in await leases.due():
            found += [(job.priority, job.probe) for job in await leases.claim(due, lambda *_: 4)]
        return found

    assert await claimed(3) == []
    assert await claimed(11) == [("emergency", True)]
    assert await claimed(12) == [], "one at a time"


async def test_another_address_is_asked_at_once(world: World) -> None:
    [dead] = free_ports(1)
    passages = [Passage("RT3") for _ in range(4)]
    receiver = DimseRecorder()
    world.endpoint("RT3", dead)
    async with acceptor(receiver) as node, world.working():
        for passage in passages:
            await world.issue(passage, study(1).instances)
        await until(lambda: world.destination("RT3"), lambda row: row.probe_at is not None)
        async with world.database.unit() as unit:
            later = datetime.now(UTC) + timedelta(minutes=20)
            await unit.connection.execute(update(destinations).values(probe_at=later))
            await unit.connection.execute(
                update(deliveries).where(deliveries.c.failures > 0).values(next_attempt_at=later)
            )
        world.endpoint("RT3", node.port)
        for passage in passages:
            await world.until_outcome(passage, "delivered", seconds=8)


async def test_senders_take_turns_within_a_priority(world: World) -> None:
    await queue(world, 40, source="AAA")
    await queue(world, 3, source="BBB")
    await queue(world, 5, source="CCC")
    await queue(world, 1, source="AAA", priority="urgent")
    leases = Leases(world.database, "one", timedelta(seconds=15))
    due = Due("RT3", "pacs", emergency=False)
    order: list[Any] = []
    for _ in range(10):
        jobs = await leases.claim(due, lambda *_: 2)
        order += [(job.priority, job.source) for job in jobs]
        async with world.database.unit() as unit:
            await unit.connection.execute(
                update(tables.deliveries).where(deliveries.c.state == "running").values(state="ended")
            )
    assert order[0] == ("urgent", "AAA")
    routine = [source for priority, source in order if priority == "routine"]
    assert sorted(routine[:3]) == ["AAA", "BBB", "CCC"]
    assert routine.count("BBB") == 3
    assert routine.count("CCC") == 5
    assert routine.index("CCC", 2) < 12
    for one in ("BBB", "CCC"):
        last = len(routine) - 1 - routine[::-1].index(one)
        assert last <= 14, "a sender with much to send keeps nobody waiting"


@pytest.mark.parametrize("seed", range(3))
async def test_no_sender_waits_for_more_than_a_turn_of_each_other(world: World, seed: int) -> None:
    chance = random.Random(seed)
    left = {f"S{number}": chance.randint(1, 30) for number in range(chance.randint(2, 8))}
    for source, number in left.items():
        await queue(world, number, source=source)
    leases = Leases(world.database, "one", timedelta(seconds=15))
    waited = dict.fromkeys(left, 0)
    while any(left.values()):
        at_once = chance.randint(1, 4)
        jobs = await leases.claim(Due("RT3", "pacs", emergency=False), lambda *_, most=at_once: most)
        assert jobs
        for job in jobs:
            left[job.source] -= 1
            waited[job.source] = 0
            for other, pending in left.items():
                if other != job.source and pending:
                    waited[other] += 1
                    assert waited[other] <= len(left) + at_once, "a turn for each, and what one claim takes"
        async with world.database.unit() as unit:
            await unit.connection.execute(
                update(deliveries).where(deliveries.c.state == "running").values(state="ended")
            )


async def test_outside_its_hours_only_emergencies_go(world: World) -> None:
    local = local_time(datetime.now(UTC))
    later = f"{(local + timedelta(hours=2)):%H:%M}-{(local + timedelta(hours=3)):%H:%M}"
    receiver = DimseRecorder()
    routine, urgent = Passage("RT3"), Passage("RT3", priority="urgent")
    emergency = Passage("RT3", priority="emergency")
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port, accepts={"hours": later, "max_associations": 4})
        for passage in (routine, urgent, emergency):
            await world.issue(passage, study(1).instances)
        await world.until_outcome(emergency, "delivered")
        await asyncio.sleep(0.3)
        assert (await world.row(routine)).attempts == 0
        assert (await world.row(urgent)).attempts == 0
        world.endpoint("RT3", node.port, accepts={"hours": "00:00-24:00"})
        await world.until_outcome(routine, "delivered")
        await world.until_outcome(urgent, "delivered")
