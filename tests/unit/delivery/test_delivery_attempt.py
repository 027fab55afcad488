"""An attempt on real associations, with its rows in memory: what it sends, over how many, what it keeps."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from imex.delivery.attempt import Means, Stop, Width, attempt
from imex.delivery.decide import Failing, Verdict
from imex.delivery.endings import Result
from imex.delivery.jobs import Instance, Job, Outcome
from imex.delivery.meters import Meters
from imex.delivery.pace import Rates
from imex.delivery.payloads import ReadAhead, Reader
from imex.delivery.recorder import BATCH
from imex.delivery.repository import PAGE, Standing
from imex.delivery.targets import Context
from imex.delivery.targets.associations import Associations
from imex.delivery.targets.dicom import DicomTarget
from imex.delivery.wake import Arrivals, Bell
from imex.dimse import Acceptor, Limits, Reject, StoreCommand, StoreResponse
from imex.directory.model import DicomEndpoint
from imex.events import Lane
from imex.observability.metrics import Metrics
from imex.testing.dicom import SyntheticInstance, synthetic_study
from imex.testing.dimse import DimseRecorder, acceptor
from imex.testing.storage import MemoryStore


@dataclass
class Rows:
    """A repository in memory."""

    waiting_: dict[str, Instance] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)
    reads: int = 0
    open: bool = False
    standing: Standing = Standing.HELD

    async def waiting(self, _: UUID, limit: int = PAGE) -> list[Instance]:
        self.reads += 1
        return list(self.waiting_.values())[:limit]

    async def waiting_contexts(self, _: UUID) -> list[Context]:
        return sorted({one.context for one in self.waiting_.values()})

    async def expects_more(self, _: UUID) -> bool:
        return self.open

    async def record(self, _: Job, outcomes: Sequence[Outcome]) -> Standing:
        await asyncio.sleep(0.002)
        self.writes.append(len(outcomes))
        self.outcomes += outcomes
        for outcome in outcomes:
            if outcome.answer.verdict is not Verdict.RETRY:
                self.waiting_.pop(outcome.instance.sop_instance_uid, None)
        return self.standing


class Known:
    """Refusals in memory."""

    def __init__(self) -> None:
        self.learnt: dict[Context, str] = {}
        self.rejections: list[str] = []

    async def of(self, _job: Job, _place: str) -> dict[Context, str]:
        return dict(self.learnt)

    async def learn(self, _job: Job, _place: str, refused: Mapping[Context, str]) -> None:
        self.learnt |= refused

    async def learn_rejection(self, _job: Job, _place: str, words: str) -> None:
        self.rejections.append(words)


class World:
    """Everything that an attempt needs."""

    def __init__(self, *, idle_s: float = 0.0, free: int = 1, response_s: float = 5.0) -> None:
        self.rows, self.known, self.store = Rows(), Known(), MemoryStore()
        self.arrivals = Arrivals(Bell())
        self.stop = Stop()
        self.free = free
        self.used = 0
        self.delivery = uuid4()
        limits = Limits(connect_s=2.0, associate_s=2.0, response_s=response_s)
        self.target = DicomTarget("IMEX", limits, associations=Associations(idle_s, 4))

    async def instance(self, one: SyntheticInstance) -> Instance:
        await self.store.put(one.sop_instance_uid, one.file())
        return Instance(
            one.sop_instance_uid,
            one.sop_class_uid,
            one.transfer_syntax,
            one.sop_instance_uid,
            len(one.dataset),
            one.digest,
            0,
        )

    async def wait_for(self, instances: Sequence[SyntheticInstance]) -> None:
        for one in instances:
            self.rows.waiting_[one.sop_instance_uid] = await self.instance(one)

    async def widen(self, _: Job) -> bool:
        if self.used >= self.free:
            return False
        self.used += 1
        return True

    async def narrow(self, _: Job) -> None:
        self.used -= 1

    async def run(self, node: Acceptor, lane: Lane = "bulk", linger_s: float = 1.0) -> Result:
        now = datetime.now(UTC)
        job = Job(
            id=self.delivery,
            share=uuid4(),
            source="RQM",
            study_uid="1.2.3",
            recipient="RT3",
            endpoint="pacs",
            lane=lane,
            priority="emergency" if lane == "express" else "routine",
            attempt=1,
            failing=Failing(),
            created_at=now,
            started_at=now,
            expires_at=now + timedelta(days=1),
            ae_title="RT3_PACS",
            lease="one/1",
            traceparent="",
            sends=True,
        )
        means = Means(
            self.rows,  # type: ignore[arg-type]
            self.known,  # type: ignore[arg-type]
            Reader(self.store, ReadAhead()),
            self.arrivals,
            Rates(),
            Meters(Metrics("delivery")),
            linger_s,
        )
        endpoint = DicomEndpoint(
            name="pacs", type="dicom", ae_title="RT3_PACS", host="127.0.0.1", port=node.port
        )
        return await attempt(job, self.target, endpoint, means, self.stop, Width(2, self.widen, self.narrow))


async def slowly(_: StoreCommand) -> StoreResponse:
    await asyncio.sleep(0.005)
    return StoreResponse()


async def test_everything_goes_once_over_two_associations_and_is_written_in_batches() -> None:
    world, receiver, sent = World(), DimseRecorder(on_commit=slowly), synthetic_study(120, size=32)
    await world.wait_for(sent.instances)
    async with acceptor(receiver) as node:
        result = await world.run(node)
    assert (result.reason, result.confirmed, result.failed) == ("", 120, 0)
    assert {uid: "sha256:" + got.sha256 for uid, got in receiver.stored.items()} == sent.digests
    assert len(receiver.commands) == 120
    assert len(receiver.requests) == 2
    assert world.used == 0
    assert sum(world.rows.writes) == 120
    assert world.rows.writes[0] <= 2  # the first is told of at once
    assert max(world.rows.writes) <= BATCH + 2
    assert len(world.rows.writes) <= 8
    assert world.rows.reads == 1


async def test_without_a_free_association_one_does() -> None:
    world, receiver, sent = World(free=0), DimseRecorder(), synthetic_study(40, size=32)
    await world.wait_for(sent.instances)
    async with acceptor(receiver) as node:
        assert (await world.run(node)).confirmed == 40
    assert len(receiver.requests) == 1


async def test_more_than_a_page() -> None:
    world, receiver, sent = World(), DimseRecorder(keep=False), synthetic_study(PAGE + 30, size=8)
    await world.wait_for(sent.instances)
    async with acceptor(receiver) as node:
        assert (await world.run(node)).confirmed == PAGE + 30
    assert len(receiver.commands) == PAGE + 30
    assert world.rows.reads == 2


async def test_parts_that_come_meanwhile_need_no_look_at_the_database() -> None:
    world, receiver, sent = World(), DimseRecorder(), synthetic_study(6, size=32)
    world.rows.open = True
    await world.wait_for(sent.instances[:1])
    async with acceptor(receiver) as node:
        running = asyncio.create_task(world.run(node, "express", 5.0))
        for count, one in enumerate(sent.instances[1:], start=1):
            await receiver.wait(lambda count=count: len(receiver.stored) == count)  # type: ignore[misc]
            world.rows.waiting_[one.sop_instance_uid] = listed = await world.instance(one)
            world.arrivals.committed({world.delivery: [listed]})
        await receiver.wait(lambda: len(receiver.stored) == 6)
        reads = world.rows.reads
        world.rows.open = False
        world.arrivals.committed({world.delivery: []})
        assert (await running).confirmed == 6
    assert len(receiver.requests) == 1
    assert len(receiver.commands) == 6
    assert reads == 1


async def test_what_is_handed_in_twice_is_sent_once() -> None:
    world, receiver, sent = World(), DimseRecorder(on_commit=slowly), synthetic_study(5, size=32)
    await world.wait_for(sent.instances)
    async with acceptor(receiver) as node:
        running = asyncio.create_task(world.run(node))
        await receiver.wait(lambda: len(receiver.stored) == 1)
        world.arrivals.committed({world.delivery: [await world.instance(one) for one in sent.instances]})
        assert (await running).confirmed == 5
    assert len(receiver.commands) == 5


async def test_an_emergency_without_news_ends_after_a_while() -> None:
    world, sent = World(), synthetic_study(1, size=32)
    world.rows.open = True
    await world.wait_for(sent.instances)
    async with acceptor(DimseRecorder()) as node:
        async with asyncio.timeout(5):
            result = await world.run(node, "express", 0.2)
    assert (result.confirmed, result.reason) == (1, "")


async def test_a_stop_ends_all_associations_after_their_instances() -> None:
    world, receiver, sent = World(), DimseRecorder(on_commit=slowly), synthetic_study(100, size=32)
    await world.wait_for(sent.instances)
    async with acceptor(receiver) as node:
        running = asyncio.create_task(world.run(node))
        await receiver.wait(lambda: len(receiver.stored) >= 20)
        world.stop.ask("enough")
        result = await running
        await receiver.wait(lambda: len(receiver.ended) == 2)
    assert (result.reason, result.yielded) == ("enough", True)
    assert result.confirmed == len(receiver.stored) == len(receiver.commands) < 100
    assert {ended.kind for ended in receiver.ended} == {"released"}
    assert world.used == 0


async def test_one_association_is_given_back_when_others_wait() -> None:
    world, receiver, sent = World(), DimseRecorder(on_commit=slowly), synthetic_study(100, size=32)
    await world.wait_for(sent.instances)
    async with acceptor(receiver) as node:
        running = asyncio.create_task(world.run(node))
        await receiver.wait(lambda: len(receiver.stored) >= 20)
        assert world.used == 1
        world.free = 0
        world.stop.narrow = True
        await receiver.wait(lambda: len(receiver.ended) == 1)
        assert (await running).confirmed == 100
    assert world.used == 0
    assert len(receiver.commands) == 100


async def test_a_second_association_that_is_rejected_changes_nothing() -> None:
    world, receiver, sent = World(), DimseRecorder(on_commit=slowly), synthetic_study(60, size=32)
    receiver.on_admit = lambda _: Reject(2, 3, 2) if len(receiver.requests) > 1 else None
    await world.wait_for(sent.instances)
    async with acceptor(receiver) as node:
        result = await world.run(node)
    assert (result.confirmed, result.reason) == (60, "")
    assert len(receiver.requests) == 2
    assert world.known.rejections == []


@pytest.mark.parametrize("place", [0, 3])
async def test_one_that_breaks_the_association_is_set_aside(place: int) -> None:
    sent = synthetic_study(30, size=32)
    bad = sent.instances[place].sop_instance_uid

    async def breaks(command: StoreCommand) -> None:
        if command.sop_instance_uid == bad:
            await asyncio.Event().wait()

    world, receiver = World(response_s=0.3), DimseRecorder(on_write=breaks)
    await world.wait_for(sent.instances)
    async with acceptor(receiver) as node:
        result = await world.run(node)
    assert (result.confirmed, result.failed) == (29, 0)
    assert result.reason == "no response within 0.3 s"
    assert max(Counter(one.sop_instance_uid for one in receiver.commands).values()) == 1
    [again] = [one for one in world.rows.outcomes if one.answer.verdict is Verdict.RETRY]
    assert again.instance.sop_instance_uid == bad


async def test_a_destination_that_breaks_every_association_is_left_alone() -> None:
    world, receiver, sent = World(response_s=0.1), DimseRecorder(), synthetic_study(30, size=32)

    async def never(_: StoreCommand) -> None:
        await asyncio.Event().wait()

    receiver.on_write = never
    await world.wait_for(sent.instances)
    async with acceptor(receiver) as node:
        result = await world.run(node)
    assert (result.confirmed, result.failed, result.reason) == (0, 0, "no response within 0.1 s")
    assert len(receiver.requests) == 2


async def test_one_whose_payload_turns_out_broken_in_mid_stream_fails_alone() -> None:
    world, receiver, sent = World(), DimseRecorder(), synthetic_study(3, size=2000)  # streamed: 8 MB each
    await world.wait_for(sent.instances)
    bad = sent.instances[1].sop_instance_uid
    content = bytearray(await world.store.get(bad))
    content[-1] ^= 1
    await world.store.put(bad, bytes(content))
    async with acceptor(receiver) as node:
        result = await world.run(node)
    assert (result.confirmed, result.failed) == (2, 1)
    assert bad not in receiver.stored


async def test_a_database_that_is_away_for_a_moment_costs_the_second_association() -> None:
    world, receiver, sent = World(), DimseRecorder(on_commit=slowly), synthetic_study(40, size=32)

    async def away(_: Job) -> bool:
        raise psycopg.OperationalError("away")

    world.widen = away  # type: ignore[method-assign]
    await world.wait_for(sent.instances)
    async with acceptor(receiver) as node:
        result = await world.run(node)
    assert result.reason == ""
    assert len(receiver.requests) == 1
    assert result.confirmed == len(receiver.stored) == len(world.rows.outcomes) == 40


async def test_a_database_that_is_away_ends_the_attempt() -> None:
    world, receiver, sent = World(), DimseRecorder(), synthetic_study(3, size=32)

    async def away(_job: Job, _place: str) -> dict[Context, str]:
        raise psycopg.OperationalError("away")

    world.known.of = away  # type: ignore[method-assign]
    await world.wait_for(sent.instances)
    async with acceptor(receiver) as node:
        result = await world.run(node)
    assert result.reason == "the database is not available"
    assert receiver.requests == []


async def test_a_permanent_rejection_is_learnt() -> None:
    world, sent = World(), synthetic_study(1, size=32)
    await world.wait_for(sent.instances)
    async with acceptor(DimseRecorder(on_admit=lambda _: Reject(1, 1, 7))) as node:
        result = await world.run(node)
    assert "called AE title not recognised" in result.reason
    assert world.known.rejections == [result.reason]


async def test_what_is_known_to_be_refused_is_not_offered() -> None:
    world, receiver, sent = World(), DimseRecorder(), synthetic_study(3, size=32)
    await world.wait_for(sent.instances)
    world.known.learnt[sent.instances[0].sop_class_uid, ""] = "the destination does not accept it"
    async with acceptor(receiver) as node:
        result = await world.run(node)
    assert result.failed == 3
    assert result.reason == "nothing was accepted: the destination does not accept it"
    assert receiver.requests == []


@pytest.mark.parametrize("number", [1, 40])
async def test_the_next_attempt_finds_the_association_open(number: int) -> None:
    world, receiver = World(idle_s=10.0), DimseRecorder()
    async with acceptor(receiver) as node:
        for _ in range(3):
            await world.wait_for(synthetic_study(number, size=32).instances)
            assert (await world.run(node)).confirmed == number
        first = [request for request in receiver.requests if request.contexts]
        await world.target.close()
        await receiver.wait(lambda: len(receiver.ended) == len(receiver.requests))
    assert len(first) == 1 + (3 if number > 8 else 0)  # further ones are not kept
    assert {ended.kind for ended in receiver.ended} == {"released"}


async def test_an_open_association_that_has_died_costs_no_instance() -> None:
    world, receiver = World(idle_s=10.0), DimseRecorder()
    async with acceptor(receiver) as node:
        await world.wait_for(synthetic_study(1, size=32).instances)
        await world.run(node)
        receiver.on_admit = lambda _: None
        await node.drain(0.0)
    async with acceptor(receiver) as node:
        await world.wait_for(synthetic_study(1, size=32).instances)
        result = await world.run(node)
    assert (result.reason, result.confirmed) == ("", 1)
