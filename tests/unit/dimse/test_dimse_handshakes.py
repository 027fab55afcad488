"""The cap on handshakes of one address: who waits, who goes first, who gives way."""

import asyncio
import contextlib

import pytest

from imex.dimse.handshakes import Handshakes, site_of


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
    ],
)
def test_an_address_is_an_ipv4_address_or_an_ipv6_network(one: str, other: str, same: bool) -> None:
    assert (site_of(one) == site_of(other)) is same


class Attempt:
    """A handshake that lasts until it is told to end."""

    def __init__(self, handshakes: Handshakes, address: str = "10.0.0.1") -> None:
        self.began = asyncio.Event()
        self.finish = asyncio.Event()
        self.gave_way = False
        self.task = asyncio.create_task(self._run(handshakes, address))

    async def _run(self, handshakes: Handshakes, address: str) -> None:
        try:
            async with asyncio.timeout(30) as deadline, handshakes.one(address, deadline):
                self.began.set()
                await self.finish.wait()
        except TimeoutError:
            self.gave_way = True

    async def end(self) -> None:
        self.finish.set()
        await self.task


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_addresses_do_not_share_a_cap() -> None:
    handshakes = Handshakes(1, stalled_s=30)
    attempts = [Attempt(handshakes, f"10.0.0.{number}") for number in range(5)]
    for attempt in attempts:
        await asyncio.wait_for(attempt.began.wait(), 5)
    assert handshakes.under_way == 5
    for attempt in attempts:
        await attempt.end()
    assert handshakes.under_way == 0


async def test_beyond_the_cap_one_waits_and_the_newest_goes_first() -> None:
    handshakes = Handshakes(1, stalled_s=30)
    first = Attempt(handshakes)
    await asyncio.wait_for(first.began.wait(), 5)
    older, newer = Attempt(handshakes), Attempt(handshakes)
    await settle()
    assert not older.began.is_set()
    await first.end()
    await asyncio.wait_for(newer.began.wait(), 5)
    assert not older.began.is_set()
    await newer.end()
    await asyncio.wait_for(older.began.wait(), 5)
    await older.end()
    assert not any(each.gave_way for each in (first, older, newer))


async def test_one_that_stalls_gives_way_only_when_its_place_is_wanted() -> None:
    handshakes = Handshakes(1, stalled_s=0.05)
    stalled = Attempt(handshakes)
    await asyncio.wait_for(stalled.began.wait(), 5)
    await asyncio.sleep(0.2)
    assert not stalled.gave_way
    newcomer = Attempt(handshakes)
    await asyncio.wait_for(newcomer.began.wait(), 5)
    await stalled.task
    assert stalled.gave_way
    await newcomer.end()
    assert not newcomer.gave_way


async def test_one_that_gives_up_waiting_leaves_its_turn_to_others() -> None:
    handshakes = Handshakes(1, stalled_s=30)
    first = Attempt(handshakes)
    await asyncio.wait_for(first.began.wait(), 5)
    waiting, impatient = Attempt(handshakes), Attempt(handshakes)
    await settle()
    impatient.task.cancel()
    first.finish.set()
    await asyncio.wait_for(waiting.began.wait(), 5)
    with contextlib.suppress(asyncio.CancelledError):
        await impatient.task
    await waiting.end()
    await first.task
    assert handshakes.under_way == 0


async def test_a_turn_that_comes_together_with_a_cancellation_is_not_lost() -> None:
    handshakes = Handshakes(1, stalled_s=30)
    first = Attempt(handshakes)
    await asyncio.wait_for(first.began.wait(), 5)
    last, cancelled = Attempt(handshakes), Attempt(handshakes)
    await settle()
    first.finish.set()
    await first.task  # its place has just been given to the newest …
    cancelled.task.cancel()  # … which goes away before it runs
    await asyncio.wait_for(last.began.wait(), 5)
    await last.end()
    with contextlib.suppress(asyncio.CancelledError):
        await cancelled.task
    assert handshakes.under_way == 0
