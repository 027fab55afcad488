"""Tasks that are to run until they are stopped: one that ends by itself is noticed."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Loops:
    """The endless tasks of one component. `failed` says which one has ended with an error."""

    def __init__(self) -> None:
        """None yet."""
        self._tasks: list[asyncio.Task[None]] = []
        self.failed = ""

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Begin one."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    async def stop(self, within_s: float) -> None:
        """Wait for all to end, and cancel those that do not in time."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=within_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.failed = f"{task.get_name()} has ended: {type(error).__name__}"
            log.error("%s", self.failed, exc_info=error)
