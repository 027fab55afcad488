"""A destination's rate: over all its associations, and shared with other processes."""

import asyncio

from imex.delivery.pace import Rates

RT3 = ("RT3", "pacs")


async def timed(rates: Rates, *sizes: int) -> float:
    loop = asyncio.get_running_loop()
    pace = rates.pace(RT3, 8.0)  # a million bytes a second
    assert pace is not None
    began = loop.time()
    await asyncio.gather(*(pace(size) for size in sizes))
    return loop.time() - began


async def test_what_was_sent_is_waited_for_by_what_comes_next() -> None:
    assert await timed(Rates(), 200_000) < 0.05
    assert 0.09 < await timed(Rates(), 50_000, 50_000, 50_000) < 0.5


async def test_a_process_takes_its_share() -> None:
    rates = Rates()
    rates.pace(RT3, 8.0)
    rates.share(RT3, 1, 4)
    assert 0.19 < await timed(rates, 50_000, 50_000) < 1.0


async def test_without_a_limit_there_is_none() -> None:
    rates = Rates()
    assert rates.pace(RT3, 8.0) is not None
    assert rates.limited == [RT3]
    assert rates.pace(RT3, None) is None
    assert rates.limited == []
    rates.share(RT3, 1, 2)
