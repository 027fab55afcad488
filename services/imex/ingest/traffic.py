"""What data sets on their way may take: memory, and this process's shares of what all processes may take."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from imex.ingest.budget import Budget, Holding, Pool
from imex.ingest.limits.bounds import BoundsTable
from imex.ingest.limits.ledger import Wants
from imex.ingest.limits.shares import Needs, in_flight_of, rate_of
from imex.ingest.limits.throttle import Throttle
from imex.ingest.meters import LimitName

_CROWDED_S = 1.0
_OF_ONE = (3, 4)  # of a process's memory, however much is free: the rest is for other institutions

EVERYBODY = "everybody"
INSTITUTION = "institution"


class Overrun(Exception):
    """More comes than is allowed, and slowing the sender down has not helped; `scope`: whose limit."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.scope = scope


class Entitled(Protocol):
    """This process's share of a limit."""

    def __call__(self, limit: int, needs: Needs) -> int:
        """In the limit's unit."""


class _Lane:
    """One scope's pool and throttle."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.throttle = Throttle()

    def crowded(self, now: float) -> LimitName | None:
        """Which limit senders have been up against for a while."""
        if self.throttle.behind(now) > _CROWDED_S:
            return "rate"
        since = self.pool.waiting_since
        if since is not None and now - since > _CROWDED_S and not self.pool.has_room(1):
            return "in flight"
        return None


class Traffic:
    """The lanes of all institutions, within one budget."""

    def __init__(
        self,
        budget: Budget,
        bounds: BoundsTable,
        within_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`within_s`: how long a data set may wait for memory, or because of a rate."""
        self._budget = budget
        self._bounds = bounds
        self._within_s = within_s
        self._clock = clock
        self._most_of_one = (budget.memory.size or 0) * _OF_ONE[0] // _OF_ONE[1]
        self._everybody = _Lane(self._pool(EVERYBODY))
        self._institutions: dict[str, _Lane] = {}
        self._asked_at = clock()
        self._entitled: Entitled = _everything

    def data_set(self, institution: str, is_emergency: Callable[[], bool] = lambda: False) -> "Load":
        """A data set begins to arrive; `is_emergency` says so, as far as is known, where memory is short."""
        lane = self._lane(institution)
        holding = Holding(
            self._budget, self._within_s, self._everybody.pool, lane.pool, is_emergency=is_emergency
        )
        return Load(holding, (self._everybody, lane), self._within_s, self._clock)

    def crowded(self, institution: str) -> tuple[LimitName, str] | None:
        """The limit that has no room for more of this institution's associations, and whose it is."""
        now = self._clock()
        for scope, lane in ((EVERYBODY, self._everybody), (INSTITUTION, self._lane(institution))):
            limit = lane.crowded(now)
            if limit is not None:
                return limit, scope
        return None

    def wants(self) -> Mapping[str, Wants]:
        """What was needed since this was asked last, by institution."""
        now = self._clock()
        seconds, self._asked_at = now - self._asked_at, now
        self._everybody.throttle.wanted(seconds)
        found = {
            code: Wants(lane.pool.needed(), lane.throttle.wanted(seconds))
            for code, lane in self._institutions.items()
        }
        return {code: wants for code, wants in found.items() if wants != Wants()}

    def share_out(self, entitled: Entitled) -> None:
        """Take over the shares as they are now."""
        everybody = self._bounds.everybody
        limit = everybody.in_flight_bytes
        self._budget.resize(self._everybody.pool, entitled(limit, in_flight_of()) if limit else None)
        self._everybody.throttle.set_rate(_share(everybody.bytes_per_s, rate_of(), entitled))
        for code, lane in self._institutions.items():
            bounds = self._bounds.of(code)
            most = self._most_of_one
            if bounds.in_flight_bytes:
                most = min(most, entitled(bounds.in_flight_bytes, in_flight_of(code)))
            self._budget.resize(lane.pool, most)
            lane.throttle.set_rate(_share(bounds.bytes_per_s, rate_of(code), entitled))
        self._entitled = entitled

    def _pool(self, name: str) -> Pool:
        memory = self._budget.memory
        return Pool(name, None, memory.most, memory.reserve)

    def _lane(self, institution: str) -> _Lane:
        lane = self._institutions.get(institution)
        if lane is None:
            lane = self._institutions[institution] = _Lane(self._pool(INSTITUTION))
            self.share_out(self._entitled)
        return lane


def _everything(limit: int, needs: Needs) -> int:
    return limit


def _share(limit: int, needs: Needs, entitled: Entitled) -> int:
    return max(1, entitled(limit, needs)) if limit else 0


class Load:
    """What one data set has taken."""

    def __init__(
        self, holding: Holding, lanes: tuple[_Lane, ...], within_s: float, clock: Callable[[], float]
    ) -> None:
        self._holding = holding
        self._lanes = lanes
        self._within_s = within_s
        self._clock = clock
        self._received = 0

    async def cover(self, received: int) -> None:
        """So many bytes have come in all: hold memory for them, and wait where they come too fast.

        Raises BudgetExhausted or Overrun where neither helped in time.
        """
        count, self._received = received - self._received, received
        now = self._clock()
        waits = [lane.throttle.spend(count, now) for lane in self._lanes]
        wait = max(waits)
        if wait > self._within_s:
            raise Overrun(self._lanes[waits.index(wait)].pool.name)
        if wait:
            await asyncio.sleep(wait)
        await self._holding.cover(received)

    def release(self) -> None:
        """It is safe, or it will never be; may be called again."""
        self._holding.release()
