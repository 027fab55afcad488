"""Publishes what no sender waits for: ends of associations and audit records."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from itertools import islice
from typing import Any

import structlog

from imex.events import Event
from imex.events.audit import AuditRecordedData
from imex.ingest.meters import Meters
from imex.runtime.backoff import ended
from imex.runtime.health import Health

log = structlog.get_logger(__name__)

_AT_ONCE = 64
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


class BackgroundPublisher:
    """A bounded queue in memory with one worker; events stay in it until the broker has acknowledged them.

    What does not fit, or is still there when the process has to stop, is logged and counted: routing has a
    grace period for ends of associations that never come.
    """

    name = "background"

    def __init__(
        self,
        publish: Callable[[Event[Any]], Awaitable[None]],
        meters: Meters,
        most: int = 20_000,
        drain_s: float = 10.0,
    ) -> None:
        self._publish = publish
        self._meters = meters
        self._most = most
        self._drain_s = drain_s
        self._queue: deque[Event[Any]] = deque()
        self._some = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._worker: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Events that are not acknowledged yet."""
        return len(self._queue)

    def offer(self, event: Event[Any]) -> None:
        """See :class:`imex.ingest.ports.Background`."""
        # who is turned away can come as often as they like: they leave room for what is said of studies
        if len(self._queue) >= (self._most // 2 if _of_stranger(event) else self._most):
            self._drop(event, "the queue is full")
            return
        self._queue.append(event)
        self._idle.clear()
        self._some.set()

    def spawn(self, chore: Coroutine[Any, Any, None]) -> None:
        """See :class:`imex.ingest.ports.Background`."""
        task = asyncio.get_running_loop().create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def start(self) -> None:
        """Begin to work."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Wait for the queue to empty and chores to end, for a bounded time."""
        try:
            async with asyncio.timeout(self._drain_s):
                await self._idle.wait()
                await asyncio.gather(*self._chores, return_exceptions=True)
        except TimeoutError:
            for event in self._queue:
                self._drop(event, "the service stops")
        if self._worker is not None:
            await ended(self._worker)

    def health(self) -> Health:
        """Degraded while events wait, and still ready."""
        return Health(detail=f"{self.waiting} events wait for the broker" if self.waiting > _AT_ONCE else "")

    async def _work(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            await self._some.wait()
            batch = list(islice(self._queue, _AT_ONCE))
            outcomes = await asyncio.gather(*map(self._publish, batch), return_exceptions=True)
            failed = [
                event
                for event, outcome in zip(batch, outcomes, strict=True)
                if isinstance(outcome, BaseException)
            ]
            for _ in batch:  # they stay in the queue while they are under way, so that none is forgotten
                self._queue.popleft()
            self._queue.extendleft(reversed(failed))
            if failed:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                pause = _FIRST_PAUSE_S
            if not self._queue:
                self._some.clear()
                self._idle.set()

    def _drop(self, event: Event[Any], why: str) -> None:
        self._meters.dropped(event.type)
        log.error("background event given up", type=event.type, id=str(event.id), reason=why)


def _of_stranger(event: Event[Any]) -> bool:
    return isinstance(event.data, AuditRecordedData) and event.data.actor.kind == "unknown"
