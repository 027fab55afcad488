"""A loop of a service's own, with the life cycle of a component."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from imex.runtime.backoff import Interrupted, heard, pause
from imex.runtime.errors import is_transient
from imex.runtime.health import Health

log = logging.getLogger(__name__)

Turn = Callable[[], Awaitable[bool]]
"""One turn of a loop; true asks for the next one at once, as there is more to do."""


class Background:
    """Calls `turn` over and over: at once while there is work, else every `every_s` or when woken.

    A turn that raises is logged and tried again with a pause, whatever it raised; health tells.
    """

    def __init__(self, name: str, turn: Turn, every_s: float, stalled_s: float = 120.0) -> None:
        """`stalled_s`: not live when one turn takes longer."""
        self.name = name
        self._turn = turn
        self._every_s = every_s
        self._stalled_s = stalled_s
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._turned = time.monotonic()
        self._trouble = ""

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    async def start(self) -> None:
        """Begin to turn."""
        self._turned = time.monotonic()
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """Let the turn that runs end, for 10 s at most."""
        self._stopping.set()
        self._woken.set()
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=10.0)
            for task in late:
                task.cancel()
                await asyncio.wait([task], timeout=1.0)

    def health(self) -> Health:
        """Live while it turns; what fails is a degradation, not an unreadiness."""
        return Health(live=time.monotonic() - self._turned < self._stalled_s, detail=self._trouble)

    async def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._turned = time.monotonic()
            self._woken.clear()
            try:
                more = await self._turn()
            except Exception as error:
                failures += 1
                self._trouble = type(error).__name__
                log.log(
                    logging.WARNING if is_transient(error) else logging.ERROR,
                    "%s failed (%d in a row): %s",
                    *(self.name, failures, self._trouble),
                    exc_info=not is_transient(error),
                )
                try:
                    await pause(min(0.2 * 2**failures, 10.0), self._stopping)
                except Interrupted:
                    return
                continue
            failures, self._trouble = 0, ""
            if not more:
                await heard(self._woken, self._every_s)
