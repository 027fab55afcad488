"""The limiter over a log in memory: several processes, one order, and a log that goes away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from imex.events import Event
from imex.ingest.limits.bounds import Bounds, BoundsTable
from imex.ingest.limits.ledger import Wants
from imex.ingest.limits.limiter import Limiter, Overfull, Timing
from imex.ingest.limits.shares import in_flight_of, rate_of
from imex.ingest.meters import LimitMeters
from imex.observability.metrics import Metrics
from imex.runtime.log_follower import LogRecord

TIMING = Timing(report_s=0.02, expire_s=0.5, wait_s=0.3, room_s=0.1, stale_s=0.15)


@dataclass
class MemoryLog:
    """Appends in one order and hands everything to every reader a moment later."""

    readers: list[Callable[[list[LogRecord]], None]] = field(default_factory=list)
    records: list[LogRecord] = field(default_factory=list)
    away: bool = False

    async def append(self, event: Event[Any]) -> None:
        if self.away:
            await asyncio.sleep(0.05)
            raise OSError("away")
        loop = asyncio.get_running_loop()
        record = LogRecord(len(self.records), loop.time(), event)
        self.records.append(record)
        loop.call_later(0.005, self._deliver, record)

    def _deliver(self, record: LogRecord) -> None:
        for reader in self.readers:
            reader([record])


@dataclass
class Cluster:
    log: MemoryLog
    limiters: list[Limiter] = field(default_factory=list)
    metrics: list[Metrics] = field(default_factory=list)

    async def begin(
        self,
        bounds: Bounds,
        institution: Bounds = Bounds(),  # noqa: B008
        expected: int = 1,
        wants: Callable[[], Mapping[str, Wants]] = dict,
    ) -> Limiter:
        metrics = Metrics("ingest")
        limiter = Limiter(
            uuid4(),
            BoundsTable(bounds, institution, lambda: None),
            self.log.append,
            uuid4,
            LimitMeters(metrics),
            wants=wants,
            expected=expected,
            timing=TIMING,
        )
        limiter.take(self.log.records[-20:])
        self.log.readers.append(limiter.take)
        self.limiters.append(limiter)
        self.metrics.append(metrics)
        await limiter.start()
        return limiter

    async def together(self, count: int, bounds: Bounds, institution: Bounds = Bounds()) -> list[Limiter]:  # noqa: B008
        limiters = [await self.begin(bounds, institution, count) for _ in range(count)]
        await until(lambda: all(each.live == count and each.connected for each in limiters))
        return limiters

    async def kill(self, limiter: Limiter) -> None:
        """As a process that dies: nothing more is said, nothing more is read."""
        self.log.readers.remove(limiter.take)
        assert limiter._reporting is not None
        limiter._reporting.cancel()


async def until(true: Callable[[], bool], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110  a condition of several objects has no event of its own
            await asyncio.sleep(0.005)


async def entered(limiter: Limiter, institution: str = "RQM") -> Callable[[], None] | str:
    try:
        return await limiter.enter(institution)
    except Overfull as full:
        return full.scope


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster(MemoryLog())
    yield made
    for limiter in made.limiters:
        await limiter.stop()


async def test_a_limit_of_four_lets_four_of_eight_in_over_four_processes(cluster: Cluster) -> None:
    limiters = await cluster.together(4, Bounds(associations=4))
    outcomes = await asyncio.gather(*(entered(each) for each in [*limiters, *limiters]))
    assert outcomes.count("everybody") == 4
    for leave in outcomes:
        if callable(leave):
            leave()
    await until(lambda: all(each._ledger.total == 0 for each in limiters))
    assert callable(await entered(limiters[0]))


async def test_far_below_the_limit_an_association_waits_for_nothing(cluster: Cluster) -> None:
    (limiter,) = await cluster.together(1, Bounds(associations=200))
    said = len(cluster.log.records)
    leave = await limiter.enter("RQM")
    assert len(cluster.log.records) == said
    await until(lambda: limiter._ledger.total == 1)
    leave()
    leave()
    await until(lambda: limiter._ledger.total == 0)
    assert b'imex_ingest_limit_decisions_total{how="at once"} 1.0' in cluster.metrics[0].render()


async def test_one_institutions_limit_is_not_anothers(cluster: Cluster) -> None:
    one, two = await cluster.together(2, Bounds(), Bounds(associations=1))
    assert callable(await entered(one, "RQM"))
    assert await entered(two, "RQM") == "institution"
    assert callable(await entered(two, "RT3"))


async def test_an_association_that_follows_another_at_once_finds_its_place(cluster: Cluster) -> None:
    one, two = await cluster.together(2, Bounds(associations=1))
    for limiter in (one, two, one, two, two, one):
        leave = await limiter.enter("RQM")
        leave()


async def test_the_claims_of_a_killed_process_come_free(cluster: Cluster) -> None:
    one, two = await cluster.together(2, Bounds(associations=2))
    assert [callable(await entered(one)) for _ in range(2)] == [True, True]
    assert await entered(two) == "everybody"
    await cluster.kill(one)
    await until(lambda: two._ledger.total == 0)
    assert callable(await entered(two))


async def test_what_a_stopped_process_held_is_free_at_once(cluster: Cluster) -> None:
    one, two = await cluster.together(2, Bounds(associations=1))
    await one.enter("RQM")
    await one.stop()
    assert callable(await entered(two))


async def test_without_the_log_processes_stay_within_the_limit_by_what_they_last_knew(
    cluster: Cluster,
) -> None:
    limiters = await cluster.together(3, Bounds(associations=10))
    first = [await limiters[0].enter("RQM") for _ in range(4)]
    await until(lambda: all(each._ledger.total == 4 for each in limiters))
    cluster.log.away = True
    await until(lambda: not any(each.connected for each in limiters))
    outcomes = [await entered(each) for each in limiters for _ in range(8)]
    assert sum(callable(outcome) for outcome in outcomes) == 6
    first[0]()  # what this process gives back, this process may give out again
    assert callable(await entered(limiters[0]))
    cluster.log.away = False
    await until(lambda: all(each.connected and each._ledger.total == 10 for each in limiters))
    assert await entered(limiters[1]) == "everybody"


async def test_a_process_that_never_heard_of_others_takes_an_equal_part(cluster: Cluster) -> None:
    cluster.log.away = True
    limiter = await cluster.begin(Bounds(associations=6), expected=3)
    outcomes = [await entered(limiter) for _ in range(4)]
    assert [callable(outcome) for outcome in outcomes] == [True, True, False, False]


async def test_a_request_that_is_withdrawn_leaves_nothing_behind(cluster: Cluster) -> None:
    one, two = await cluster.together(2, Bounds(associations=1))
    asking = asyncio.create_task(one.enter("RQM"))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: not one._claims)
    assert callable(await entered(two))


async def test_a_process_that_joins_learns_what_is_held(cluster: Cluster) -> None:
    (one,) = await cluster.together(1, Bounds(associations=2))
    await one.enter("RQM")
    await asyncio.sleep(0.05)
    late = await cluster.begin(Bounds(associations=2))
    assert callable(await entered(late))
    assert await entered(late) == "everybody"


async def test_shares_follow_what_each_process_needs_and_never_exceed_the_limit(cluster: Cluster) -> None:
    needs = {"busy": Wants(900, 900), "calm": Wants(100, 100)}
    busy = await cluster.begin(Bounds(), wants=lambda: {"RQM": needs["busy"]})
    calm = await cluster.begin(Bounds(), wants=lambda: {"RQM": needs["calm"]})

    def shares() -> list[int]:
        return [each.entitled(600, rate_of("RQM")) for each in (busy, calm)]

    assert sum(shares()) <= 600 or busy.live == 1
    await until(lambda: shares() == [500, 100], 10)
    assert [each.entitled(600, in_flight_of()) for each in (busy, calm)] == [500, 100]
    needs["busy"], needs["calm"] = Wants(), Wants(900, 900)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 10
    while shares() != [0, 600]:
        assert sum(shares()) <= 600
        assert loop.time() < deadline
        await asyncio.sleep(0.01)
    cluster.log.away = True
    await until(lambda: not calm.connected)
    assert shares() == [0, 300]  # what the other needs now cannot be known
