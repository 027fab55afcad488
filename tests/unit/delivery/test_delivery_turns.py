"""Associations that deliveries use in turns."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from imex.delivery.decide import Failing
from imex.delivery.jobs import Job
from imex.delivery.turns import SLICE, Turn, Turns
from imex.events import Priority

_NOW = datetime(2026, 11, 25, tzinfo=UTC)


def job(priority: Priority = "emergency") -> Job:
    return Job(
        id=uuid4(), share=uuid4(), source="RQM", study_uid="1.2.3", recipient="RT3", endpoint="pacs",
        lane="express", priority=priority, attempt=1, failing=Failing(), created_at=_NOW, started_at=_NOW,
        expires_at=_NOW + timedelta(days=1), ae_title="RT3_PACS", lease="one/1", traceparent="", sends=True,
    )  # fmt: skip


class Database:
    """What the leases would count."""

    def __init__(self, free: int = 0) -> None:
        self.free = free
        self.handed_on: list[Job] = []

    async def widen(self, _: Job) -> bool:
        self.free -= 1
        return self.free >= 0

    async def hand_on(self, to: Job) -> None:
        self.handed_on.append(to)


async def take(turns: Turns, who: Job, database: Database | None = None) -> Turn:
    turn = await turns.take(
        who, poke=lambda: None, widen=(database or Database()).widen, must_stop=lambda: False
    )
    assert turn is not None
    return turn


async def test_a_guest_has_its_turn_when_the_host_has_sent_all_it_had() -> None:
    turns, host, guest = Turns(), job(), job()
    turns.bring(host)
    first = await take(turns, host)
    waiting = asyncio.create_task(take(turns, guest))
    await asyncio.sleep(0)

    assert first.wanted
    assert not waiting.done()
    turns.give_back(first)

    assert (await waiting).job is guest


async def test_nobody_gives_way_before_a_slice_is_sent_nor_when_nobody_waits() -> None:
    turns, host = Turns(), job()
    turns.bring(host)
    turn = await take(turns, host)

    turn.sent = SLICE
    assert not turn.over

    waiting = asyncio.create_task(take(turns, job()))
    await asyncio.sleep(0)
    turn.sent = SLICE - 1
    assert not turn.over
    turn.sent = SLICE
    assert turn.over
    turns.give_back(turn)
    await waiting


async def test_the_holder_is_woken_by_whoever_comes_to_wait() -> None:
    turns, host = Turns(), job()
    turns.bring(host)
    woken = asyncio.Event()
    held = await turns.take(host, poke=woken.set, widen=Database().widen, must_stop=lambda: False)
    assert held is not None

    waiting = asyncio.create_task(take(turns, job()))
    await asyncio.wait_for(woken.wait(), 1)

    turns.give_back(held)
    await waiting


async def test_the_more_urgent_goes_first() -> None:
    turns, host = Turns(), job()
    turns.bring(host)
    held = await take(turns, host)
    routine = asyncio.create_task(take(turns, job("routine")))
    await asyncio.sleep(0)
    emergency = asyncio.create_task(take(turns, job("emergency")))
    await asyncio.sleep(0)

    turns.give_back(held)

    first = await emergency
    assert not routine.done()
    turns.give_back(first)
    await routine


async def test_what_a_guest_is_using_becomes_its_own_when_the_host_ends() -> None:
    turns, host, guest, database = Turns(), job(), job(), Database()
    turns.bring(host)
    turn = await take(turns, guest)

    await turns.leave(host, 5, database.hand_on)

    assert database.handed_on == [guest]
    assert turns.owned(host.destination) == 1
    turns.give_back(turn)
    await turns.leave(guest, 5, database.hand_on)
    assert turns.owned(host.destination) == 0


async def test_what_nobody_uses_goes_with_its_host_and_a_guest_asks_for_its_own() -> None:
    turns, host, guest, database = Turns(), job(), job(), Database(free=1)
    turns.bring(host)
    await turns.leave(host, 5, database.hand_on)
    assert database.handed_on == []

    turn = await take(turns, guest, database)

    assert turns.owned(guest.destination) == 1
    turns.give_back(turn)


async def test_destinations_have_nothing_to_do_with_each_other() -> None:
    turns, here, there = Turns(), job(), replace(job(), recipient="RT4")
    turns.bring(here)
    turns.bring(there)
    held = await take(turns, here)

    assert (await take(turns, there)).job is there
    assert not held.wanted


async def test_one_that_is_to_stop_waits_no_longer() -> None:
    turns, database = Turns(), Database()

    assert await turns.take(job(), poke=lambda: None, widen=database.widen, must_stop=lambda: True) is None


async def test_never_more_at_once_than_were_brought() -> None:
    turns, most, now_used = Turns(), 0, 0
    jobs = [job() for _ in range(12)]
    for host in jobs[:2]:
        turns.bring(host)

    async def send(who: Job) -> None:
        nonlocal most, now_used
        for _ in range(5):
            turn = await take(turns, who)
            now_used += 1
            most = max(most, now_used)
            await asyncio.sleep(0)
            now_used -= 1
            turns.give_back(turn)

    await asyncio.gather(*map(send, jobs))

    assert most == 2
