"""Waking the workers of this process. It only saves the wait for the next poll: nothing depends on it."""

import asyncio
import contextlib
from typing import Final

_AFTER_COMMIT_S: Final = (0.005, 0.025, 0.08)


class Bell:
    """Wakes everyone who waits. What rings after `listen` is heard by a later `wait`."""

    def __init__(self) -> None:
        """Silent at first."""
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake whoever has been listening."""
        rung, self._event = self._event, asyncio.Event()
        rung.set()

    def ring_soon(self) -> None:
        """Ring when the caller's transaction has probably been committed, which others cannot see before.

        PostgreSQL's NOTIFY would be exact, and would serialise the commits of the whole database.
        """
        loop = asyncio.get_running_loop()
        for delay in _AFTER_COMMIT_S:
            loop.call_later(delay, self.ring)

    def listen(self) -> asyncio.Event:
        """From now on: take it before looking at what may change."""
        return self._event


async def heard(event: asyncio.Event, timeout: float) -> bool:
    """Whether the event was set within `timeout` seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            await event.wait()
    return event.is_set()
