"""Which of several consumers in one process goes first: lanes that share a processor and a database.

A batch of a lane does not begin while a more urgent lane has work, and batches are smaller while one had
some of late, so that what comes in urgently meets no long batch that has begun before. Nobody waits for ever:
after `longest_s` a batch begins all the same, so that the least urgent lane keeps a share of its own.
"""

import asyncio
import time
from collections.abc import Callable

from imex.runtime.backoff import heard

_OF_LATE_S = 1.0
_SMALLER = 4


class Precedence:
    """The lanes of one process."""

    def __init__(self, longest_s: float = 0.2, clock: Callable[[], float] = time.monotonic) -> None:
        """`longest_s`: what a batch waits for more urgent lanes at the most."""
        self._longest_s = longest_s
        self._clock = clock
        self._lanes: list[Place] = []

    def place(self, rank: int) -> "Place":
        """A consumer's place; 0 is the most urgent. Places of one rank do not wait for each other."""
        made = Place(self, rank)
        self._lanes.append(made)
        return made


class Place:
    """One consumer among the others."""

    def __init__(self, among: Precedence, rank: int) -> None:
        self._among = among
        self._rank = rank
        self._has_work: Callable[[], bool] = bool
        self._rested = asyncio.Event()
        self._worked_at = float("-inf")

    def watch(self, has_work: Callable[[], bool]) -> None:
        """How to see whether this consumer has work, under way or waiting."""
        self._has_work = has_work

    async def turn(self) -> None:
        """Return when no more urgent consumer has work, or it has been waited long enough."""
        among = self._among
        until = among._clock() + among._longest_s
        while (busy := self._busy()) is not None and (left := until - among._clock()) > 0:
            busy._rested.clear()
            await heard(busy._rested, left)

    def limit(self, records: int) -> int:
        """How large a batch may be, of so many at the most."""
        now = self._among._clock()
        late = any(now - lane._worked_at < _OF_LATE_S for lane in self._above())
        return max(1, records // _SMALLER) if late else records

    def worked(self) -> None:
        """A batch of this consumer has begun or ended."""
        self._worked_at = self._among._clock()
        if not self._has_work():
            self._rested.set()

    def _busy(self) -> "Place | None":
        return next((lane for lane in self._above() if lane._has_work()), None)

    def _above(self) -> "list[Place]":
        return [lane for lane in self._among._lanes if lane._rank < self._rank]
