"""A cap on TLS handshakes under way for each address, under which the ones that stall give way.

Refusing the newest would let a peer that begins handshakes and never ends them shut out everybody behind the
same address. So a newcomer waits; the newest goes first; and the oldest handshake is given up for it once
it has been under way for longer than an honest one takes.
"""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_IPV6_SITE: Final = 64


class Handshakes:
    """At most `most` handshakes at a time for each IPv4 address or IPv6 /64."""

    def __init__(self, most: int, stalled_s: float) -> None:
        self._most = most
        self._stalled_s = stalled_s
        self._sites: dict[str, _Site] = {}

    @property
    def under_way(self) -> int:
        """Handshakes at this moment."""
        return sum(site.taken for site in self._sites.values())

    @asynccontextmanager
    async def one(self, address: str, deadline: asyncio.Timeout) -> AsyncIterator[None]:
        """Hold a place; `deadline` is the caller's own and is made due when the place is wanted back."""
        name = site_of(address)
        site = self._sites.get(name)
        if site is None:
            site = self._sites[name] = _Site(self._most, self._stalled_s)
        try:
            async with site.place(deadline):
                yield
        finally:
            if not site.taken:
                self._sites.pop(name, None)


class _Site:
    """The handshakes of one address."""

    def __init__(self, most: int, stalled_s: float) -> None:
        self._most = most
        self._stalled_s = stalled_s
        self._under_way: dict[asyncio.Timeout, float] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self.taken = 0

    @asynccontextmanager
    async def place(self, deadline: asyncio.Timeout) -> AsyncIterator[None]:
        await self._turn()
        self._under_way[deadline] = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            del self._under_way[deadline]
            self._pass_on()

    async def _turn(self) -> None:
        if self.taken < self._most:
            self.taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._watch()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._pass_on()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _pass_on(self) -> None:
        """A place is free: the newest that waits has it."""
        while self._waiting:
            turn = self._waiting.pop()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken -= 1

    def _watch(self) -> None:
        """While somebody waits, look when the oldest has stalled."""
        if self._timer is None and self._waiting:
            loop = asyncio.get_running_loop()
            oldest = min(self._under_way.values(), default=loop.time())
            at = max(oldest + self._stalled_s, loop.time() + self._stalled_s / 10)
            self._timer = loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for deadline, began in list(self._under_way.items())[: len(self._waiting)]:
            if now - began >= self._stalled_s and not deadline.expired():
                deadline.reschedule(now)
        self._watch()


def site_of(address: str) -> str:
    """What counts as one address: an IPv4 address, the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_SITE), strict=False))
