"""Associations that the deliveries of this process to one destination use in turns.

Emergencies stream: a delivery has a few instances to send, and then waits for the next part of its manifest.
What it holds meanwhile others can use. So each running delivery brings the associations that it was claimed
with, and takes one whenever it has something to send; further emergencies are claimed without any of their
own, as guests. Whoever has sent all it had, or a slice while others wait, lets the next one have its turn.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from imex.delivery.jobs import Job
from imex.runtime.backoff import heard

SLICE: Final = 16
"""Instances that one may send in its turn while others wait."""
_LOOK_S: Final = 0.1

Destination = tuple[str, str]


@dataclass(eq=False, slots=True)
class Turn:
    """The use of one association, until it is given back."""

    job: Job
    poke: Callable[[], None]
    there: "_There"
    sent: int = 0

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for it."""
        return self.there.short

    @property
    def over(self) -> bool:
        """Whether it is somebody else's turn, with more to send or without."""
        return self.sent >= SLICE and self.wanted


@dataclass(eq=False, slots=True)
class _Waiting:
    urgency: int
    called: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False, slots=True)
class _There:
    free: int = 0
    owned: int = 0
    line: list[_Waiting] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    brought: Counter[UUID] = field(default_factory=Counter)

    @property
    def short(self) -> bool:
        """Whether more wait than are free."""
        return len(self.line) > self.free

    def call(self) -> None:
        if self.line:
            self.line[0].called.set()


class Turns:
    """Who may use an association with which destination; the leases keep the count in the database."""

    def __init__(self) -> None:
        """Nobody has brought any."""
        self._destinations: dict[Destination, _There] = {}

    def owned(self, destination: Destination) -> int:
        """Associations with a destination that deliveries of this process have brought."""
        there = self._destinations.get(destination)
        return there.owned if there else 0

    def wanted(self, destination: Destination) -> bool:
        """Whether a delivery waits for its turn."""
        there = self._destinations.get(destination)
        return bool(there and there.short)

    def bring(self, job: Job) -> None:
        """A delivery brings an association that the database counts for it."""
        there = self._destinations.setdefault(job.destination, _There())
        there.brought[job.id] += 1
        there.owned += 1
        there.free += 1
        there.call()

    async def leave(self, job: Job, most: int, hand_on: Callable[[Job], Awaitable[None]]) -> None:
        """Take away up to `most` of what a delivery has brought, before the database forgets them.

        One that another delivery is using becomes that one's: `hand_on` has the database count it there.
        """
        there = self._destinations.get(job.destination)
        if there is None:
            return
        for _ in range(min(most, there.brought[job.id])):
            there.brought[job.id] -= 1
            if there.free:
                there.free -= 1
                there.owned -= 1
                continue
            user = next(turn.job for turn in there.turns if turn.job.id != job.id)
            there.brought[user.id] += 1
            await hand_on(user)
        there.brought += Counter()  # without those that are at zero
        if not there.owned and not there.line:
            self._destinations.pop(job.destination, None)

    async def take(
        self,
        job: Job,
        *,
        poke: Callable[[], None],
        widen: Callable[[Job], Awaitable[bool]],
        must_stop: Callable[[], bool],
    ) -> Turn | None:
        """Wait for a turn, the more urgent first; None when it is to stop.

        `poke` wakes the holder when somebody else comes to wait. Where nobody here has an association any
        more, `widen` asks the database for one.
        """
        there = self._destinations.setdefault(job.destination, _There())
        waiting = _Waiting(_URGENCY.get(job.priority, len(_URGENCY)))
        self._join(there, waiting)
        try:
            while not must_stop():
                if there.free and there.line[0] is waiting:
                    there.free -= 1
                    turn = Turn(job, poke, there)
                    there.turns.append(turn)
                    return turn
                if not there.owned and await widen(job):
                    self.bring(job)
                    continue
                waiting.called.clear()
                await heard(waiting.called, _LOOK_S)
            return None
        finally:
            there.line.remove(waiting)
            there.call()

    def give_back(self, turn: Turn) -> None:
        """Its association is free for the next one."""
        turn.there.turns.remove(turn)
        turn.there.free += 1
        turn.there.call()

    @staticmethod
    def _join(there: _There, waiting: _Waiting) -> None:
        place = next(
            (place for place, other in enumerate(there.line) if other.urgency > waiting.urgency),
            len(there.line),
        )
        there.line.insert(place, waiting)
        if there.short:
            for turn in there.turns:
                turn.poke()


_URGENCY: Final = {"emergency": 0, "urgent": 1}
