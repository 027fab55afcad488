"""Lanes that share a process: the more urgent first, and nobody never."""

import asyncio
import time

from imex.runtime.precedence import Precedence


async def test_the_most_urgent_never_waits_and_the_others_wait_until_it_rests() -> None:
    among = Precedence(longest_s=5.0)
    express, bulk = among.place(0), among.place(2)
    work = True
    express.watch(lambda: work)
    bulk.watch(lambda: True)
    await asyncio.wait_for(express.turn(), 1.0)

    waiting = asyncio.create_task(bulk.turn())
    await asyncio.sleep(0)
    assert not waiting.done()
    work = False
    express.worked()
    await asyncio.wait_for(waiting, 1.0)


async def test_work_that_never_ends_holds_nobody_up_for_longer_than_the_bound() -> None:
    among = Precedence(longest_s=0.05)
    among.place(0).watch(lambda: True)
    bulk = among.place(2)
    began = time.monotonic()
    await asyncio.wait_for(bulk.turn(), 5.0)
    assert time.monotonic() - began >= 0.05


async def test_equals_do_not_wait_for_each_other() -> None:
    among = Precedence(longest_s=5.0)
    one, other = among.place(1), among.place(1)
    one.watch(lambda: True)
    await asyncio.wait_for(other.turn(), 1.0)


def test_batches_are_smaller_while_more_urgent_work_has_just_been_done() -> None:
    now = 100.0
    among = Precedence(clock=lambda: now)
    express, urgent, bulk = (among.place(rank) for rank in range(3))
    assert [one.limit(128) for one in (express, urgent, bulk)] == [128, 128, 128]
    urgent.worked()
    assert [one.limit(128) for one in (express, urgent, bulk)] == [128, 128, 32]
    now += 2.0
    assert bulk.limit(128) == 128
    express.worked()
    assert bulk.limit(1) == 1, "a batch is never empty"
