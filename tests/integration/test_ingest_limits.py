"""Limits that several ingest processes keep together, over a real broker; and a real store that is full.

A process is a producer, a follower and a limiter of its own, each with connections of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from imex.events import topic_named
from imex.events.capacity import CAPACITY_TOPIC
from imex.ingest.limits.bounds import Bounds, BoundsTable
from imex.ingest.limits.limiter import Limiter, Overfull, Timing
from imex.ingest.meters import LimitMeters
from imex.observability.metrics import Metrics
from imex.runtime.log_follower import LogFollower
from imex.runtime.producer import Producer
from imex.runtime.topics import connect_admin, ensure_topics
from imex.settings import KafkaSettings
from imex.testing.parts import KafkaPart, kafka_part
from imex.testing.runtime import until

pytestmark = pytest.mark.alone

TIMING = Timing(report_s=0.3, expire_s=3.0, wait_s=2.0, room_s=0.5, stale_s=2.0)


@dataclass
class Process:
    producer: Producer
    follower: LogFollower
    limiter: Limiter
    metrics: Metrics

    async def enter(self, institution: str = "RQM") -> Callable[[], None] | str:
        try:
            return await self.limiter.enter(institution)
        except Overfull as full:
            return full.scope

    async def stop(self) -> None:
        for component in (self.limiter, self.follower, self.producer):
            await component.stop()

    async def die(self) -> None:
        """Without a word, as when it is killed."""
        await self.follower.stop()
        await self.producer.stop()

    def total(self) -> int:
        return self.limiter._ledger.total

    def own(self) -> int:
        """What the topic says that it holds: others that were killed earlier may hold something still."""
        return self.limiter._ledger.held(self.limiter._process).total()


@dataclass
class Cluster:
    kafka: KafkaSettings
    stack: AsyncExitStack

    async def processes(
        self,
        count: int,
        bounds: Bounds,
        institution: Bounds = Bounds(),  # noqa: B008
    ) -> list[Process]:
        made = []
        for _ in range(count):
            metrics = Metrics("ingest")
            producer = Producer(self.kafka, "imex-ingest", linger_ms=1, timeout_s=3.0)
            table = BoundsTable(bounds, institution, lambda: None)
            limiter = Limiter(
                uuid4(), table, producer.send, uuid4, LimitMeters(metrics), expected=count, timing=TIMING
            )
            follower = LogFollower(self.kafka, CAPACITY_TOPIC, limiter.take, back_s=20.0)
            process = Process(producer, follower, limiter, metrics)
            for component in (producer, follower, limiter):
                await component.start()
            self.stack.push_async_callback(process.stop)
            made.append(process)
        await until(lambda: all(each.limiter.live == count and each.limiter.connected for each in made))
        return made


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaPart]:
    with kafka_part(tmp_path_factory.mktemp("kafka")) as part:
        yield part


async def forget(settings: KafkaSettings) -> None:
    """Have the topic begin anew: what limits others have reached must not decide about these."""
    admin = await connect_admin(settings)
    try:
        await admin.delete_records({TopicPartition(CAPACITY_TOPIC, 0): RecordsToDelete(before_offset=-1)})
    finally:
        await admin.close()


@pytest.fixture
async def cluster(kafka: KafkaPart) -> AsyncIterator[Cluster]:
    settings = KafkaSettings.model_validate(
        {"bootstrap": kafka.bootstrap, "username": kafka.username, "password": kafka.password}
    )
    await ensure_topics(settings, [topic_named(CAPACITY_TOPIC)])
    await forget(settings)
    async with AsyncExitStack() as stack:
        yield Cluster(settings, stack)


async def test_a_limit_of_four_admits_exactly_four_of_eight_over_four_processes(cluster: Cluster) -> None:
    processes = await cluster.processes(4, Bounds(associations=4))
    for _ in range(3):
        outcomes = await asyncio.gather(*(each.enter() for each in [*processes, *processes]))
        assert outcomes.count("everybody") == 4
        assert sum(callable(each) for each in outcomes) == 4
        for leave in outcomes:
            if callable(leave):
                leave()
        await until(lambda: all(each.total() == 0 for each in processes))


async def test_a_topic_that_is_not_there_is_asked_for_seldom_and_said_clearly(
    kafka: KafkaPart, caplog: pytest.LogCaptureFixture
) -> None:
    settings = KafkaSettings.model_validate(
        {"bootstrap": kafka.bootstrap, "username": kafka.username, "password": kafka.password}
    )
    follower = LogFollower(settings, "not-there", lambda _: None, back_s=20.0)
    await follower.start()
    await until(lambda: "no such topic" in follower.health().detail)
    await asyncio.sleep(1.0)  # in which it would be asked for three thousand times
    await follower.stop()
    assert [record.name for record in caplog.records if "not-there" in record.getMessage()] == [
        "imex.runtime.log_follower"
    ]


async def test_an_institutions_limit_holds_over_processes_and_spares_the_others(cluster: Cluster) -> None:
    one, two = await cluster.processes(2, Bounds(associations=100), Bounds(associations=3))
    outcomes = await asyncio.gather(*(each.enter("RQM") for each in [one, two] * 4))
    assert outcomes.count("institution") == 5
    assert callable(await two.enter("RT3"))


async def test_sixty_at_once_stay_within_forty(cluster: Cluster) -> None:
    processes = await cluster.processes(4, Bounds(associations=40))
    outcomes = await asyncio.gather(*(each.enter() for each in processes * 15))
    assert sum(callable(each) for each in outcomes) == 40
    assert all(b"imex_ingest_limit_overshot_total 0.0" in each.metrics.render() for each in processes)


async def test_far_below_the_limit_nothing_is_waited_for(cluster: Cluster) -> None:
    (process,) = await cluster.processes(1, Bounds(associations=1000))
    leave = await process.limiter.enter("RQM")
    assert b'imex_ingest_limit_decisions_total{how="at once"} 1.0' in process.metrics.render()
    await until(lambda: process.own() == 1)
    leave()
    await until(lambda: process.own() == 0)


async def test_the_claims_of_a_killed_process_expire(cluster: Cluster) -> None:
    one, two = await cluster.processes(2, Bounds(associations=2))
    assert [callable(await one.enter()) for _ in range(2)] == [True, True]
    assert await two.enter() == "everybody"
    await one.die()
    loop = asyncio.get_running_loop()
    died = loop.time()
    await until(lambda: two.total() == 0)
    assert loop.time() - died < TIMING.expire_s + 3
    assert callable(await two.enter())


async def test_a_process_that_starts_later_knows_what_is_held(cluster: Cluster) -> None:
    (one,) = await cluster.processes(1, Bounds(associations=2))
    assert [callable(await one.enter()) for _ in range(2)] == [True, True]
    await asyncio.sleep(2 * TIMING.report_s)
    metrics = Metrics("ingest")
    table = BoundsTable(Bounds(associations=2), Bounds(), lambda: None)
    late = Limiter(uuid4(), table, one.producer.send, uuid4, LimitMeters(metrics), timing=TIMING)
    follower = LogFollower(cluster.kafka, CAPACITY_TOPIC, late.take, back_s=20.0)
    cluster.stack.push_async_callback(late.stop)
    cluster.stack.push_async_callback(follower.stop)
    await follower.start()
    await late.start()
    with pytest.raises(Overfull):
        await late.enter("RQM")


async def test_without_kafka_the_limit_holds_by_what_was_known_and_again_when_it_is_back(
    cluster: Cluster, kafka: KafkaPart
) -> None:
    processes = await cluster.processes(3, Bounds(associations=9))
    held = [await processes[0].enter() for _ in range(3)]
    await until(lambda: all(each.total() == 3 for each in processes))
    kafka.part.kill()
    try:
        await until(lambda: not any(each.limiter.connected for each in processes))
        loop = asyncio.get_running_loop()
        started = loop.time()
        outcomes = [await each.enter() for each in processes for _ in range(4)]
        assert sum(callable(each) for each in outcomes) == 6
        assert loop.time() - started < 1.0
    finally:
        kafka.part.start()
    await until(lambda: all(each.limiter.connected and each.total() == 9 for each in processes), 60)
    assert await processes[1].enter() == "everybody"
    leave = held[0]
    assert callable(leave)
    leave()
    await until(lambda: processes[1].total() == 8)
    assert callable(await processes[1].enter())
