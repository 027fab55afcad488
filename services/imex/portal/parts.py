"""What runs beside the web server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from imex.runtime.health import Health


class Part(Protocol):
    """A component with a life cycle; `imex.runtime`'s producer and relay are such."""

    @property
    def name(self) -> str:
        """For logs and /ready."""
        ...

    async def start(self) -> None:
        """Begin to work."""
        ...

    async def stop(self) -> None:
        """End, within a bound of its own."""
        ...

    def health(self) -> Health:
        """How it is doing; must not block."""
        ...


@asynccontextmanager
async def running(parts: Sequence[Part]) -> AsyncIterator[None]:
    """Start `parts` in their order, and stop them in the other.

    Starting is not waited for: with Kafka away people can still read, and what they ask for waits in the
    outbox.
    """

    async def start_all() -> None:
        for part in parts:
            await part.start()

    starting = asyncio.create_task(start_all(), name="starting parts")
    try:
        yield
    finally:
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        for part in reversed(parts):
            await part.stop()
