"""The memory of this process: one number of bytes for what is received and what is on its way to the store.

What connections receive into is charged as it comes (imex.dimse.memory slows the peers); a data set asks
before it takes more, and waits its turn. So that nobody waits for ever, a part is kept back: whoever is first
in line and finds nothing free draws on it until its data set is done, which it always can be, as the part is
as large as a data set may ever need. The others go on when it has given everything back.

Emergencies stand before all others in the line, and a part of each pool is theirs alone, so that routine
studies do not take the last of it. Whether a data set is one is asked only when it finds nothing free.

The same line serves limits that are narrower than the process: pools of one institution or of all, whose
sizes are this process's share of a limit that all processes keep (imex.ingest.limits).
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from imex.dimse.memory import SharedMemory

_FIRST_STEP = 64 * 1024
_LONGEST_STEP = 1024 * 1024
_RESERVED = 4  # at most a quarter of a pool is kept back


class BudgetExhausted(Exception):
    """No memory became free in time; `pool` is the one that had none."""

    def __init__(self, pool: "Pool") -> None:
        super().__init__(pool.name)
        self.pool = pool


@dataclass(eq=False, slots=True)
class Pool:
    """A size in bytes, None for no bound, and what is taken. `most`: what one data set may ever need."""

    name: str
    size: int | None
    most: int
    reserve: float = 0.0
    """Of the size, what only emergencies may take."""
    used: int = 0
    waiting: int = 0
    waiting_since: float | None = None
    """Monotonic time since when somebody has always been waiting."""
    peak: int = 0
    drawing: int = 0
    """Data sets that draw on what is kept back."""
    drawn: int = 0
    """Bytes that these hold; what they may still need is kept back for them."""

    @property
    def slots(self) -> int:
        """Data sets that may draw on what is kept back at a time; always one, or nothing would ever move."""
        return sys.maxsize if self.size is None else max(1, self.size // (_RESERVED * self.most))

    def has_room(self, count: int, *, emergency: bool = False) -> bool:
        """Whether so many bytes are free for everybody, or for an emergency."""
        if self.size is None:
            return True
        kept_back = max(0, self.slots * self.most - self.drawn)
        if not emergency:
            kept_back += int(self.reserve * self.size)
        return self.used + count <= self.size - kept_back

    def note(self) -> None:
        """Remember the most that was needed."""
        self.peak = max(self.peak, self.used + self.waiting)

    def needed(self) -> int:
        """The most that was taken and waited for since this was asked last."""
        self.note()
        peak, self.peak = self.peak, self.used + self.waiting
        return peak


class _Turn:
    def __init__(self, holding: "Holding", count: int) -> None:
        self.holding = holding
        self.count = count
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Budget:
    """The process's pool, and the line in front of it and of all narrower pools."""

    def __init__(self, size: int, most: int, reserve: float = 0.0) -> None:
        self.memory = Pool("memory", size, most, reserve)
        self._line: list[_Turn] = []
        self._soon: asyncio.Handle | None = None

    @property
    def used(self) -> int:
        """Bytes that are taken."""
        return self.memory.used

    def charge(self, count: int) -> None:
        """Take bytes that are there already."""
        self.memory.used += count

    def discharge(self, count: int) -> None:
        """Give such bytes back. May be called in the middle of anything, as views end where they end."""
        self.memory.used -= count
        if self._line and self._soon is None:
            with contextlib.suppress(RuntimeError):  # outside the loop: who gives back next serves the line
                self._soon = asyncio.get_running_loop().call_soon(self.serve)

    def resize(self, pool: Pool, size: int | None) -> None:
        """A pool has become larger or smaller; what is taken stays taken."""
        pool.size = size
        self.serve()

    async def take(self, holding: "Holding", count: int, within_s: float) -> None:
        """Take bytes for a data set, waiting for their turn. Raises BudgetExhausted."""
        free = (holding.draws or not self._line) and not _obstacles(holding, count)
        if not free:
            holding.look()
            free = not self._stands_behind(holding) and not _obstacles(holding, count)
        if free:
            _grant(holding, count)
            return
        turn = _Turn(holding, count)
        _wait(turn, 1)
        self._line.append(turn)
        try:
            self.serve()
            async with asyncio.timeout(within_s):
                await turn.granted
        except BaseException as error:
            if turn in self._line:
                self._line.remove(turn)
                _wait(turn, -1)
            else:
                holding.give(count)  # granted in the same moment
            self.serve()
            if isinstance(error, TimeoutError):
                raise BudgetExhausted(_lacking(turn)) from None
            raise

    def _stands_behind(self, holding: "Holding") -> bool:
        """Whether somebody in line is to be served before it."""
        return not holding.draws and any(turn.holding.emergency >= holding.emergency for turn in self._line)

    def serve(self) -> None:
        """Let those in line take what is free; who waits for one pool holds up nobody in another."""
        self._soon = None
        blocked: set[Pool] = set()
        for turn in sorted(self._line, key=lambda turn: not turn.holding.emergency):
            if turn.granted.done() or (not turn.holding.draws and blocked.intersection(turn.holding.pools)):
                continue  # one that is done has given up and is about to leave the line
            obstacles = _obstacles(turn.holding, turn.count)
            if obstacles:
                blocked.update(obstacles)
                continue
            self._line.remove(turn)
            _wait(turn, -1)
            _grant(turn.holding, turn.count)
            turn.granted.set_result(None)


def _obstacles(holding: "Holding", count: int) -> list[Pool]:
    """The pools that a data set waits for; none where there is room, or it may use what is kept back."""
    if holding.draws:
        return []
    lacking = [pool for pool in holding.pools if not pool.has_room(count, emergency=holding.emergency)]
    slotless = [pool for pool in holding.pools if pool.drawing >= pool.slots]
    if not lacking or not slotless:
        return []
    return [pool for pool in lacking if pool in slotless] or slotless


def _grant(holding: "Holding", count: int) -> None:
    roomy = all(pool.has_room(count, emergency=holding.emergency) for pool in holding.pools)
    if not holding.draws and not roomy:
        holding.draws = True
        for pool in holding.pools:
            pool.drawing += 1
            pool.drawn += holding.held
    holding.held += count
    for pool in holding.pools:
        pool.used += count
        pool.drawn += count if holding.draws else 0
        pool.note()


def _wait(turn: _Turn, sign: int) -> None:
    for pool in turn.holding.pools:
        if not pool.waiting:
            pool.waiting_since = time.monotonic()
        pool.waiting += sign * turn.count
        if not pool.waiting:
            pool.waiting_since = None
        pool.note()


def _lacking(turn: _Turn) -> Pool:
    pools, emergency = turn.holding.pools, turn.holding.emergency
    lacking = (pool for pool in reversed(pools) if not pool.has_room(turn.count, emergency=emergency))
    return next(lacking, pools[0])


def _never() -> bool:
    return False


class Holding:
    """What one data set holds: grows in steps with its bytes, up to the most that it may ever need."""

    def __init__(
        self,
        budget: Budget,
        within_s: float,
        *narrower: Pool,
        is_emergency: Callable[[], bool] = _never,
    ) -> None:
        """`within_s`: how long it waits for each step. `narrower`: further pools that it counts in.

        `is_emergency` says so as far as is known by then; it is asked each time that nothing is free.
        """
        self.emergency = False
        self._is_emergency = is_emergency
        self._budget = budget
        self._within_s = within_s
        self.pools = (budget.memory, *narrower)
        self.held = 0
        self.draws = False

    def look(self) -> None:
        """Find out whether it is an emergency."""
        self.emergency = self.emergency or self._is_emergency()

    async def cover(self, received: int) -> None:
        """Hold enough for so many received bytes. Raises BudgetExhausted."""
        most = self._budget.memory.most
        while self.held < min(received, most):
            step = min(max(self.held, _FIRST_STEP), _LONGEST_STEP, most - self.held)
            await self._budget.take(self, step, self._within_s)

    def give(self, count: int) -> None:
        """Give some bytes back; the line moves with the next `serve`."""
        self.held -= count
        for pool in self.pools:
            pool.used -= count
            pool.drawn -= count if self.draws else 0

    def release(self) -> None:
        """Give everything back; may be called again."""
        # what is asked is a data set with all its bytes, which holds this: together they would stay until
        # the garbage collector comes by
        self._is_emergency = _never
        if not self.held and not self.draws:
            return
        self.give(self.held)
        if self.draws:
            self.draws = False
            for pool in self.pools:
                pool.drawing -= 1
        self._budget.serve()


class Receiving(SharedMemory):
    """The part of the budget that connections receive into (imex.dimse.memory.ReceiveMemory)."""

    def __init__(self, budget: Budget, size: int, window: int) -> None:
        super().__init__(size, window)
        self._budget = budget

    def charge(self, count: int) -> None:
        """See ReceiveMemory."""
        super().charge(count)
        self._budget.charge(count)

    def discharge(self, count: int) -> None:
        """See ReceiveMemory."""
        super().discharge(count)
        self._budget.discharge(count)
