"""One budget of memory: in line, without deadlock, and never beyond its size."""

import asyncio
import gc
import random
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imex.ingest.budget import Budget, BudgetExhausted, Holding, Pool, Receiving

KIB = 1024
MIB = 1024 * KIB
MOST = 16 * MIB


def held(budget: Budget, *narrower: Pool, within_s: float = 5.0, emergency: bool = False) -> Holding:
    return Holding(budget, within_s, *narrower, is_emergency=lambda: emergency)


async def test_a_data_set_takes_as_it_grows_and_no_more_than_it_may_ever_need() -> None:
    budget = Budget(128 * MIB, MOST)
    one = held(budget)
    await one.cover(1)
    assert budget.used == 64 * KIB
    await one.cover(10 * MIB)
    assert 10 * MIB <= budget.used <= 11 * MIB
    await one.cover(900 * MIB)
    assert budget.used == MOST
    one.release()
    one.release()
    assert budget.used == 0


async def test_what_is_kept_back_lets_the_first_in_line_finish_and_then_the_next() -> None:
    budget = Budget(32 * MIB, MOST)
    others = [held(budget) for _ in range(4)]
    for each in others:
        await each.cover(4 * MIB)
    growing = [asyncio.create_task(each.cover(16 * MIB)) for each in others]
    for each, task in zip(others, growing, strict=True):
        async with asyncio.timeout(1):
            await task
        assert budget.used <= 32 * MIB
        each.release()
    assert budget.used == 0


async def test_without_room_in_time_a_data_set_gives_up_and_holds_up_nobody() -> None:
    budget = Budget(32 * MIB, MOST)
    first, second, third = held(budget), held(budget), held(budget, within_s=0.02)
    await first.cover(16 * MIB)
    await second.cover(16 * MIB)
    with pytest.raises(BudgetExhausted) as refused:
        await third.cover(1)
    assert refused.value.pool.name == "memory"
    first.release()
    await third.cover(1)
    second.release()
    third.release()
    assert budget.used == 0


async def test_a_wait_that_is_cancelled_takes_nothing() -> None:
    budget = Budget(32 * MIB, MOST)
    first, second, third, fourth = (held(budget) for _ in range(4))
    await first.cover(16 * MIB)
    await second.cover(16 * MIB)
    waiting, behind = asyncio.create_task(third.cover(1)), asyncio.create_task(fourth.cover(1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    second.release()
    await behind
    first.release()
    fourth.release()
    assert (budget.used, budget.memory.waiting, budget.memory.drawing) == (0, 0, 0)


async def test_one_institution_that_waits_holds_up_no_other() -> None:
    budget = Budget(256 * MIB, MOST)
    narrow = Pool("institution", 20 * MIB, MOST)
    one, two, other = held(budget, narrow), held(budget, narrow, within_s=0.02), held(budget)
    await one.cover(16 * MIB)
    with pytest.raises(BudgetExhausted) as refused:
        await two.cover(8 * MIB)
    assert refused.value.pool is narrow
    waiting = asyncio.create_task(held(budget, narrow).cover(8 * MIB))
    await asyncio.sleep(0)
    await other.cover(16 * MIB)
    assert narrow.needed() >= 20 * MIB
    budget.resize(narrow, None)
    await waiting


async def test_an_institution_without_a_share_still_gets_one_data_set_through_at_a_time() -> None:
    budget = Budget(256 * MIB, MOST)
    nothing = Pool("institution", 0, MOST)
    one, two = held(budget, nothing), held(budget, nothing)
    await one.cover(16 * MIB)
    waiting = asyncio.create_task(two.cover(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    one.release()
    await waiting


async def test_what_connections_receive_into_counts_too() -> None:
    budget = Budget(32 * MIB, MOST)
    receiving = Receiving(budget, 8 * MIB, MIB)
    assert receiving.window == MIB
    receiving.charge(16 * MIB)
    assert (budget.used, receiving.window) == (16 * MIB, 64 * KIB)
    first, second = held(budget), held(budget)
    await first.cover(1)  # it draws on what is kept back
    waiting = asyncio.create_task(second.cover(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    receiving.discharge(16 * MIB)
    await waiting


async def test_routine_data_sets_do_not_take_the_part_that_is_kept_for_emergencies() -> None:
    budget = Budget(128 * MIB, MOST, reserve=0.25)
    drawing = [held(budget) for _ in range(2)]  # all that may draw on what is kept back
    filling = [held(budget) for _ in range(5)]
    for each in (*filling[:4], *drawing):
        await each.cover(16 * MIB)
    late = held(budget, within_s=0.02)
    with pytest.raises(BudgetExhausted):
        await late.cover(1)
    emergency = held(budget, within_s=0.02, emergency=True)
    await emergency.cover(16 * MIB)
    assert budget.used <= 128 * MIB
    for each in (*filling, *drawing, emergency):
        each.release()
    assert budget.used == 0


async def test_an_emergency_stands_before_all_others_in_line() -> None:
    budget = Budget(32 * MIB, MOST)
    full = [held(budget) for _ in range(2)]
    for each in full:
        await each.cover(16 * MIB)
    order: list[str] = []

    async def wait(name: str, holding: Holding) -> None:
        await holding.cover(16 * MIB)
        order.append(name)
        holding.release()

    routine = asyncio.create_task(wait("routine", held(budget)))
    await asyncio.sleep(0)
    emergency = asyncio.create_task(wait("emergency", held(budget, emergency=True)))
    await asyncio.sleep(0)
    for each in full:
        each.release()
    async with asyncio.timeout(5):
        await asyncio.gather(routine, emergency)
    assert order == ["emergency", "routine"]


@settings(max_examples=40, deadline=None)
@given(st.integers(32, 160), st.integers(1, 40), st.integers(0, 2**32))
def test_every_data_set_gets_through_whatever_they_need(size_mib: int, count: int, seed: int) -> None:
    async def check() -> None:
        rng = random.Random(seed)
        reserve = rng.choice([0.0, 0.125, 0.5])
        budget = Budget(size_mib * MIB, MOST, reserve)
        sizes = [None, 0, 8 * MIB, 48 * MIB]
        pools = [Pool("institution", rng.choice(sizes), MOST, reserve) for _ in range(3)]
        everybody = Pool("everybody", rng.choice([None, 20 * MIB, 96 * MIB]), MOST)

        async def receive() -> None:
            mine = held(budget, everybody, rng.choice(pools), emergency=rng.random() < 0.3)
            total = 0
            for _ in range(rng.randint(1, 6)):
                total += rng.randint(1, 8 * MIB)
                await mine.cover(total)
                await asyncio.sleep(0)
                assert budget.used <= size_mib * MIB
                if everybody.size is not None:
                    assert everybody.used <= max(everybody.size, MOST)
            mine.release()

        async with asyncio.timeout(20):
            await asyncio.gather(*(receive() for _ in range(count)))
        for pool in (budget.memory, everybody, *pools):
            assert (pool.used, pool.waiting, pool.drawing, pool.drawn) == (0, 0, 0, 0)

    asyncio.run(check())


class _DataSet:
    """As ingest's sinks do: it holds what asks it."""

    def __init__(self, budget: Budget) -> None:
        self.holding = Holding(budget, 1.0, is_emergency=self.is_emergency)

    def is_emergency(self) -> bool:
        return False


def test_a_data_set_that_is_done_goes_at_once_and_not_when_the_collector_comes_by() -> None:
    gc.disable()
    try:
        one = _DataSet(Budget(10 * MIB, MIB))
        gone = weakref.ref(one)
        one.holding.release()
        del one
        assert gone() is None
    finally:
        gc.enable()
