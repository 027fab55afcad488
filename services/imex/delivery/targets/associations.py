"""Associations that stay open between deliveries: few of them, and for a short time."""

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import dataclass

from imex.dimse import Association

Context = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Node:
    """Whom an association is with."""

    host: str
    port: int
    ae_title: str
    tls: bool

    def __str__(self) -> str:
        """As it is written where what is learnt of it is kept."""
        return f"{self.ae_title}@{self.host}:{self.port}{' TLS' if self.tls else ''}"


@dataclass(frozen=True, slots=True)
class Open:
    """An association, and what was proposed on it."""

    node: Node
    association: Association
    proposed: frozenset[Context]


class Associations:
    """What one process keeps open. A peer that ends one meanwhile is answered."""

    def __init__(self, idle_s: float, most: int) -> None:
        """At most `most`, each for `idle_s` seconds; none when either is 0."""
        self._idle_s = idle_s
        self._most = most
        self._resting: dict[Open, asyncio.Task[None]] = {}

    def kept(self, node: Node) -> int:
        """How many there are with a node."""
        return sum(1 for one in self._resting if one.node == node)

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self._resting)

    async def take(self, node: Node, contexts: Collection[Context]) -> Open | None:
        """One with the node on which all of `contexts` were proposed.

        Where there are only others, one of them is ended, as the caller will open another one.
        """
        while theirs := [one for one in self._resting if one.node == node]:
            fitting = next((one for one in theirs if one.proposed.issuperset(contexts)), None)
            chosen = fitting or theirs[0]
            await self._wake(chosen)
            if fitting is not None and chosen.association.usable:
                return chosen
            await chosen.association.release()
            if fitting is None:
                return None
        return None

    async def give_back(self, one: Open) -> None:
        """Keep it for the next one, or end it where enough are kept."""
        if not one.association.usable or self._idle_s <= 0 or len(self._resting) >= self._most:
            await one.association.release()
            return
        self._resting[one] = asyncio.create_task(self._rest(one))

    async def close(self) -> None:
        """End all."""
        for one in list(self._resting):
            await self._wake(one)
            await one.association.release()

    async def _rest(self, one: Open) -> None:
        await one.association.rest(self._idle_s)
        if self._resting.pop(one, None) is not None:
            await one.association.release()

    async def _wake(self, one: Open) -> None:
        task = self._resting.pop(one)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
