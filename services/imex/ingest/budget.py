"""The memory that data sets on their way may take together."""

import asyncio
from collections import deque


class BudgetExhausted(Exception):
    """No memory became free in time."""


class Budget:
    """A number of bytes, shared first come, first served."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def used(self) -> int:
        """Bytes that are taken."""
        return self.size - self._free

    async def take(self, count: int, within_s: float) -> None:
        """Take bytes, waiting for their turn.

        Raises:
            BudgetExhausted: not within the time, or more than there will ever be.
        """
        if count > self.size:
            raise BudgetExhausted
        if not self._waiting and count <= self._free:
            self._free -= count
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (count, turn)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(within_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.give(count)
            else:
                self._waiting.remove(entry)
                self._serve()
            if isinstance(error, TimeoutError):
                raise BudgetExhausted from None
            raise

    def give(self, count: int) -> None:
        """Give bytes back."""
        self._free += count
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            count, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= count
                turn.set_result(None)


class Reservation:
    """What one data set holds of the budget: grows in steps with its bytes up to a most."""

    def __init__(self, budget: Budget, most: int, step: int, within_s: float) -> None:
        self._budget = budget
        self._most = most
        self._step = step
        self._within_s = within_s
        self._held = 0

    async def cover(self, received: int) -> None:
        """Hold enough for so many received bytes. Raises BudgetExhausted."""
        while self._held < min(received, self._most):
            step = min(self._step, self._most - self._held)
            await self._budget.take(step, self._within_s)
            self._held += step

    def release(self) -> None:
        """Give everything back; may be called again."""
        held, self._held = self._held, 0
        if held:
            self._budget.give(held)
