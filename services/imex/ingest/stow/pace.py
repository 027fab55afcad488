"""A body as it comes in, within a deadline for progress."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


class BodySlow(Exception):
    """The sender has stopped, or brings next to nothing."""


class Body(Protocol):
    """Where the bytes come from (aiohttp.StreamReader)."""

    async def readany(self) -> bytes:
        """What has come; empty at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """So many bytes have to come in so many seconds of waiting for them; our own work does not count."""

    seconds: float = 30.0
    least_bytes: int = 512


async def pieces(body: Body, pace: Pace) -> AsyncIterator[bytes]:
    """The body. Raises BodySlow, and what the transport raises where the sender goes away."""
    waited, brought = 0.0, 0
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(pace.seconds - waited):
                data = await body.readany()
        except TimeoutError:
            raise BodySlow from None
        if not data:
            return
        waited, brought = waited + time.monotonic() - began, brought + len(data)
        if brought >= pace.least_bytes:
            waited, brought = 0.0, 0
        elif waited >= pace.seconds:
            raise BodySlow
        yield data
