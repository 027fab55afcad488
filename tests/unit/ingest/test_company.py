"""Events that leave together."""

import asyncio
from contextlib import ExitStack

from imex.ingest.company import Company

NEVER = 3600.0


async def test_the_event_of_a_lone_data_set_leaves_at_once() -> None:
    company = Company(NEVER)

    with company.under_way():
        await asyncio.wait_for(company.wait(), 1)


async def test_events_of_several_leave_together() -> None:
    company = Company(0.005)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(company.under_way())
        first = asyncio.create_task(company.wait())
        await asyncio.sleep(0)
        second = asyncio.create_task(company.wait())
        await asyncio.sleep(0)
        assert not first.done()
        await first
        await asyncio.sleep(0)
        assert second.done()


async def test_one_that_gives_up_leaves_the_others_waiting() -> None:
    company = Company(0.005)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(company.under_way())
        gone = asyncio.create_task(company.wait())
        stays = asyncio.create_task(company.wait())
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait_for(stays, 1)


async def test_data_sets_that_are_safe_are_no_company() -> None:
    company = Company(NEVER)
    for _ in range(5):
        with company.under_way():
            pass

    with company.under_way():
        await asyncio.wait_for(company.wait(), 1)
