"""Who carries what: leases, recovery, limits, emergencies, orderly stops."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, update
from tests.integration.delivery_world import Passage, World, delivery_world, uids, until

from imex.db.tables import delivery as tables
from imex.db.tables.delivery import deliveries
from imex.delivery.endings import Endings, Result
from imex.delivery.leases import INTERRUPTED, Leases
from imex.delivery.repository import Repository, Standing
from imex.dimse import StoreCommand, StoreResponse
from imex.events.deliveries import DeliveryAttempted, DeliveryEnded
from imex.testing.dicom import SyntheticStudy, synthetic_study
from imex.testing.dimse import DimseRecorder, acceptor


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with delivery_world(empty_database_url) as made:
        yield made


def study(slices: int) -> SyntheticStudy:
    return synthetic_study(slices, size=32)


class Gate:
    """A receiver's storage that can be held shut."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def commit(self, _: StoreCommand) -> StoreResponse:
        await self.open.wait()
        return StoreResponse()


async def test_a_restarted_process_takes_its_own_deliveries_at_once(world: World) -> None:
    passage, receiver = Passage("RT3"), DimseRecorder()
    async with acceptor(receiver) as node:
        world.endpoint("RT3", node.port)
        await world.issue(passage, study(3).instances)
        killed = Leases(world.database, "one", timedelta(seconds=15))
        [due] = await killed.due()
        [job] = await killed.claim(due, lambda used, priority: 2)
        assert job.sends
        async with world.working("one"):
            await world.until_outcome(passage, "delivered", seconds=3)
    interrupted, succeeded = await world.events(DeliveryAttempted)
    assert (interrupted.data.reason, interrupted.data.attempt) == (INTERRUPTED, 1)
    assert (succeeded.data.outcome, succeeded.data.attempt) == ("succeeded", 2)


async def test_another_process_waits_for_the_lease_to_run_out(world: World) -> None:
    passage, receiver = Passage("RT3"), DimseRecorder()
    async with acceptor(receiver) as node:
        world.endpoint("RT3", node.port)
        await world.issue(passage, study(3).instances)
        killed = Leases(world.database, "one", timedelta(seconds=2))
        [due] = await killed.due()
        [job] = await killed.claim(due, lambda used, priority: 2)
        async with world.working("two"):
            row = await world.until_outcome(passage, "delivered")
    assert row.attempts == 2
    assert (await killed.renew([job.id])) == {}
    [attempt] = [one for one in await world.events(DeliveryAttempted) if one.data.outcome == "succeeded"]
    assert attempt.time - job.started_at > timedelta(seconds=2)


async def test_an_attempt_that_lost_its_lease_stops_and_what_was_confirmed_counts(world: World) -> None:
    passage, receiver, gate = Passage("RT3"), DimseRecorder(), Gate()
    receiver.on_commit = gate.commit
    sent = study(150)
    async with acceptor(receiver) as node, world.working("one", lease_s=1.0):
        world.endpoint("RT3", node.port)
        await world.issue(passage, sent.instances)
        await receiver.wait(lambda: len(receiver.commands) == 1)
        async with world.database.unit() as unit:
            await unit.connection.execute(
                update(deliveries).where(deliveries.c.id == passage.id).values(leased_by="two/x")
            )
        receiver.on_commit = slowly
        gate.open.set()
        await receiver.wait(lambda: len(receiver.ended) == 1)
    confirmed = [row for row in (await world.instances(passage)).values() if row.state == "confirmed"]
    assert len(receiver.stored) < 150
    assert len(confirmed) >= len(receiver.stored) - 1  # the one in flight has no answer
    assert (await world.row(passage)).leased_by == "two/x"
    assert await world.events(DeliveryAttempted) == []


async def test_a_process_does_not_take_from_itself_what_it_is_sending(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    passage, receiver, gate = Passage("RT3"), DimseRecorder(), Gate()
    receiver.on_commit = gate.commit
    sent = study(3)
    async with acceptor(receiver) as node, world.working("one", lease_s=0.5) as worker:
        world.endpoint("RT3", node.port)
        looks = asyncio.Semaphore(0)
        recover = Leases.recover

        async def seen(leases: Leases, *keeps: Any) -> int:
            found = await recover(leases, *keeps)
            looks.release()
            return found

        async def away(*_: Any) -> dict[Any, bool]:
            raise ConnectionError

        monkeypatch.setattr(Leases, "renew", away)
        monkeypatch.setattr(Leases, "recover", seen)
        await world.issue(passage, sent.instances)
        await receiver.wait(lambda: len(receiver.commands) == 1)
        await until(lambda: world.row(passage), lambda row: row.lease_until < datetime.now(UTC))
        while not looks.locked():
            await looks.acquire()
        for _ in range(2):
            await looks.acquire()
        monkeypatch.undo()
        gate.open.set()
        await world.until_outcome(passage, "delivered")
        assert worker.health().live
    assert len(receiver.commands) == 3
    assert (await world.row(passage)).attempts == 1


async def test_what_an_earlier_claim_of_the_same_process_says_is_not_taken(world: World) -> None:
    passage = Passage("RT3")
    await world.issue(passage, study(3).instances)
    leases = Leases(world.database, "one", timedelta(seconds=12))
    [due] = await leases.due()
    [first] = await leases.claim(due, lambda used, priority: 2)
    await leases.release([first.id])
    [second] = await leases.claim(due, lambda used, priority: 2)
    repository, endings = Repository(world.database), Endings(world.database, world.signer)
    assert await repository.record(first, []) is Standing.LOST
    assert (await endings.settle(first, Result())).state == "lost"
    assert await repository.record(second, []) is Standing.HELD


async def test_a_destination_gets_no_more_associations_than_it_takes(world: World) -> None:
    receiver, gate = DimseRecorder(), Gate()
    receiver.on_commit = gate.commit
    passages = [Passage("RT3") for _ in range(5)]
    async with acceptor(receiver) as node, world.working("one"), world.working("two"):
        world.endpoint("RT3", node.port, accepts={"max_associations": 3})
        for passage in passages:
            await world.issue(passage, study(2).instances)
        await receiver.wait(lambda: len(receiver.requests) == 3)
        await asyncio.sleep(0.3)  # several polls of both workers
        assert len(receiver.requests) == 3
        gate.open.set()
        for passage in passages:
            await world.until_outcome(passage, "delivered")


async def test_an_emergency_overtakes_what_is_being_sent(world: World) -> None:
    receiver = DimseRecorder()
    long, urgent = Passage("RT3"), Passage("RT3", priority="emergency")
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port, accepts={"max_associations": 1})
        receiver.on_commit = slowly
        await world.issue(long, study(150).instances)
        await receiver.wait(lambda: len(receiver.stored) >= 5)
        emergency = study(3)
        await world.issue(urgent, emergency.instances)
        await world.until_outcome(urgent, "delivered")
        before = [one.sop_instance_uid for one in receiver.commands]
        assert len(before) < 100
        await world.until_outcome(long, "delivered")
    order = [one.sop_instance_uid for one in receiver.commands]
    assert len(order) == len(set(order)) == 153
    gave_way = [one for one in await world.events(DeliveryAttempted) if "gave way" in one.data.reason]
    assert len(gave_way) == 1


def has(receiver: DimseRecorder, uid: str) -> Callable[[], bool]:
    return lambda: uid in receiver.stored


async def slowly(_: StoreCommand) -> StoreResponse:
    await asyncio.sleep(0.01)
    return StoreResponse()


async def test_parts_of_an_emergency_share_an_association(world: World) -> None:
    receiver, passage = DimseRecorder(), Passage("RT3", priority="emergency")
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        sent = study(4)
        for instance in sent.instances:
            await world.issue(passage, [instance], close=False)
            await receiver.wait(has(receiver, instance.sop_instance_uid))
        await world.hand_in(world.closing(passage))
        await world.until_outcome(passage, "delivered")
    assert len(receiver.requests) == 1
    assert set(receiver.stored) == uids(sent.instances)


async def test_a_stop_finishes_the_instance_and_another_start_goes_on_from_there(world: World) -> None:
    receiver, passage, sent = DimseRecorder(), Passage("RT3"), study(60)
    receiver.on_commit = slowly
    async with acceptor(receiver) as node:
        world.endpoint("RT3", node.port)
        async with world.working():
            await world.issue(passage, sent.instances)
            await receiver.wait(lambda: len(receiver.stored) >= 10)
        row = await world.row(passage)
        assert (row.state, row.leased_by) == ("waiting", None)
        confirmed = {uid for uid, row in (await world.instances(passage)).items() if row.state == "confirmed"}
        assert confirmed == set(receiver.stored)
        assert len(confirmed) < 60
        async with world.working():
            await world.until_outcome(passage, "delivered")
    assert len(receiver.commands) == 60  # none was sent twice
    assert receiver.aborted == []


async def test_a_delivery_expires_with_a_reason(world: World) -> None:
    passage = Passage("RT3")
    world.endpoint("RT3", 1)
    await world.issue(passage, study(1).instances)
    async with world.database.unit() as unit:
        await unit.connection.execute(
            update(deliveries)
            .where(deliveries.c.id == passage.id)
            .values(expires_at=deliveries.c.created_at, reason="connection refused")
        )
    async with world.working():
        await world.until_outcome(passage, "expired")
    [ended] = await world.events(DeliveryEnded)
    assert ended.data.outcome == "expired"
    assert "connection refused" in ended.data.reason
    await world.hand_in(world.command(passage, "retry"))
    async with acceptor(DimseRecorder()) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.until_outcome(passage, "delivered")


async def test_a_cancelled_delivery_can_be_tried_again_and_a_revoked_one_cannot(world: World) -> None:
    cancelled, revoked = Passage("RT3"), Passage("RT3")
    receiver = DimseRecorder()
    for passage in (cancelled, revoked):
        await world.issue(passage, study(1).instances)
    await world.hand_in(world.command(cancelled, "cancel"), world.withdrawal(revoked))
    for passage in (cancelled, revoked):
        assert (await world.row(passage)).outcome == "cancelled"
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.hand_in(world.command(cancelled, "retry"), world.command(revoked, "retry"))
        await world.until_outcome(cancelled, "delivered")
    assert (await world.row(revoked)).outcome == "cancelled"
    assert len(receiver.stored) == 1


async def test_records_that_come_again_change_nothing(world: World) -> None:
    receiver, passage, sent = DimseRecorder(), Passage("RT3"), study(3)
    async with acceptor(receiver) as node, world.working():
        world.endpoint("RT3", node.port)
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
        closing = world.closing(passage).data.model_copy(update={"revision": 1})
        await world.hand_in(world.closing(passage).model_copy(update={"data": closing}))
        await until(lambda: world.row(passage), lambda row: row.state == "ended")
    assert len(receiver.commands) == 3
    assert len(await world.receipts(passage)) == 1


async def test_what_an_older_release_wrote_is_found_too(world: World) -> None:
    """Beside this one it runs while an upgrade is rolled out, and knows no queues."""
    receiver, passages = DimseRecorder(), [Passage("RT3"), Passage("RT3", source="RW6", priority="urgent")]
    async with acceptor(receiver) as node:
        world.endpoint("RT3", node.port)
        for passage in passages:
            await world.issue(passage, synthetic_study(1, size=32).instances)
        async with world.database.unit() as unit:
            await unit.connection.execute(delete(tables.queues))
            await unit.connection.execute(delete(tables.destinations))
        async with world.working():
            for passage in passages:
                await world.until_outcome(passage, "delivered")
    leases = Leases(world.database, "one", timedelta(seconds=12))
    assert await leases.find_queues() == 0
