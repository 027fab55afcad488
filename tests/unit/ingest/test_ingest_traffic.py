"""Rates, shares of bytes in flight, and when senders are told to come later."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.ingest.budget import Budget, BudgetExhausted
from imex.ingest.limits.bounds import Bounds, BoundsTable
from imex.ingest.limits.ledger import Wants
from imex.ingest.limits.throttle import Throttle
from imex.ingest.traffic import Overrun, Traffic

MIB = 1024 * 1024


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def traffic(
    everybody: Bounds = Bounds(),  # noqa: B008
    institution: Bounds = Bounds(),  # noqa: B008
    clock: Clock | None = None,
    memory: int = 256 * MIB,
    within_s: float = 0.05,
) -> Traffic:
    bounds = BoundsTable(everybody, institution, lambda: None)
    made = Traffic(Budget(memory, 16 * MIB), bounds, within_s, clock or Clock())
    made.share_out(lambda limit, needs: limit)
    return made


@given(
    st.integers(100_000, 10**9),
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 10**7)), min_size=1, max_size=50),
)
def test_a_peer_that_waits_as_told_keeps_the_rate(rate: int, pieces: list[tuple[float, int]]) -> None:
    throttle, now, total = Throttle(), 0.0, 0
    throttle.set_rate(rate)
    for pause, count in pieces:
        now += pause
        total += count
        now += throttle.spend(count, now)
    assert total <= rate * (now + 1.0) * 1.001 + 1


def test_a_throttle_that_held_back_wants_more_than_it_has() -> None:
    throttle = Throttle()
    throttle.set_rate(1_000_000)
    assert throttle.spend(500_000, 10.0) == 0
    assert throttle.wanted(1.0) == 500_000
    assert throttle.spend(2_000_000, 10.0) == pytest.approx(1.5)
    assert throttle.wanted(1.0) == 2_000_000
    assert throttle.behind(10.5) == pytest.approx(1.0)
    throttle.set_rate(0)
    assert throttle.behind(10.5) == 0


async def test_bytes_beyond_the_rate_are_slowed_and_far_beyond_it_refused() -> None:
    clock = Clock()
    made = traffic(institution=Bounds(bytes_per_s=MIB), clock=clock, within_s=1.0)
    load = made.data_set("RQM")
    loop = asyncio.get_running_loop()
    await load.cover(MIB)
    started = loop.time()
    await load.cover(MIB + MIB // 20)
    assert loop.time() - started > 0.04
    with pytest.raises(Overrun) as over:
        await load.cover(8 * MIB)
    assert over.value.scope == "institution"
    assert made.crowded("RQM") == ("rate", "institution")
    assert made.crowded("RT3") is None
    clock.now += 60
    assert made.crowded("RQM") is None


async def test_one_institution_leaves_memory_for_the_others() -> None:
    made = traffic(memory=128 * MIB)
    loads = [made.data_set("RQM") for _ in range(12)]
    outcomes = await asyncio.gather(*(load.cover(16 * MIB) for load in loads), return_exceptions=True)
    assert 0 < sum(isinstance(each, BudgetExhausted) for each in outcomes) < 12
    await made.data_set("RT3").cover(8 * MIB)


async def test_what_was_needed_is_told_once() -> None:
    clock = Clock()
    made = traffic(everybody=Bounds(in_flight_bytes=64 * MIB), clock=clock)
    load = made.data_set("RQM")
    await load.cover(MIB)
    load.release()
    clock.now += 2
    assert made.wants() == {"RQM": Wants(MIB, MIB // 2)}
    clock.now += 2
    assert made.wants() == {}


async def test_a_line_for_a_share_turns_new_associations_away() -> None:
    clock = Clock()
    made = traffic(everybody=Bounds(in_flight_bytes=16 * MIB), within_s=5.0)
    first, second = made.data_set("RQM"), made.data_set("RT3")
    await first.cover(16 * MIB)
    waiting = asyncio.create_task(second.cover(16 * MIB))
    await asyncio.sleep(0)
    since = made._everybody.pool.waiting_since
    assert since is not None
    made._clock = clock
    clock.now = since + 0.5
    assert made.crowded("RX1") is None
    clock.now = since + 1.5
    assert made.crowded("RX1") == ("in flight", "everybody")
    first.release()
    await waiting
    assert made.crowded("RX1") is None
