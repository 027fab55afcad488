"""What a service holds open, as a component: started first, it is closed when everything else has stopped."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from imex.runtime.health import Health

log = logging.getLogger(__name__)

_CLOSE_S = 8.0

Closer = Callable[[], Awaitable[Any] | Any]
"""Closes one thing: a coroutine function, or a function that blocks and is run in a thread."""


class Resources:
    """Pools, exporters and the like."""

    name = "resources"

    def __init__(self, *closers: Closer) -> None:
        """`closers` run in their order."""
        self._closers = closers

    async def start(self) -> None:
        """They open themselves at first use."""

    async def stop(self) -> None:
        """Close each within its bound; one that fails does not keep the next from closing."""
        for closer in self._closers:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    if asyncio.iscoroutinefunction(closer):
                        await closer()
                    else:
                        await asyncio.to_thread(closer)
            except Exception:
                log.warning("%s did not close", getattr(closer, "__qualname__", closer), exc_info=True)

    def health(self) -> Health:
        """Nothing of their own to say."""
        return Health()
