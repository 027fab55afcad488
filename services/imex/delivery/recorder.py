"""Writing outcomes while sending goes on: in small batches, soon, and without slowing the association."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

import structlog

from imex.db import is_outage
from imex.delivery.changing.facts import Given
from imex.delivery.decide import Answer
from imex.delivery.jobs import Instance, Job, Outcome
from imex.delivery.repository import Repository, Standing
from imex.runtime.backoff import heard

BATCH: Final = 100
SOON_S: Final = 0.3
_MOST_UNWRITTEN: Final = 4 * BATCH
_RETRY_S: Final = 0.5


class Recorder:
    """The outcomes of one attempt on their way to the database.

    The first outcome is written at once, so that people see that the first image has come; later ones at 100
    or after 300 ms. What is not written when the process is killed is sent again. While the database is away
    sending stops at 400 unwritten outcomes, and writing is repeated until it is back.
    """

    def __init__(self, repository: Repository, job: Job) -> None:
        """Use `recording`."""
        self._repository = repository
        self._job = job
        self._unwritten: list[Outcome] = []
        self._added = asyncio.Event()
        self._full = asyncio.Event()
        self._writing = asyncio.Lock()
        self.standing = Standing.HELD

    async def add(self, instance: Instance, answer: Answer, given: Given | None = None) -> None:
        """Note an outcome; waits while too many are unwritten."""
        self._unwritten.append(Outcome(instance, answer, datetime.now(UTC), given))
        self._added.set()
        if len(self._unwritten) >= BATCH:
            self._full.set()
        if len(self._unwritten) >= _MOST_UNWRITTEN:
            await self.flush()

    async def flush(self) -> Standing:
        """Write everything noted so far, and not what is noted meanwhile."""
        async with self._writing:
            left = len(self._unwritten)
            while left > 0:
                batch = self._unwritten[: min(left, _MOST_UNWRITTEN)]
                try:
                    self.standing = await self._repository.record(self._job, batch)
                except Exception as error:
                    if not is_outage(error):
                        raise
                    structlog.get_logger().warning("outcomes_unwritten", error=type(error).__name__)
                    await asyncio.sleep(_RETRY_S)
                    continue
                del self._unwritten[: len(batch)]
                left -= len(batch)
        return self.standing

    async def run(self) -> None:
        """Write in the background, for ever."""
        while True:
            await self._added.wait()
            self._added.clear()
            self._full.clear()
            await self.flush()
            await heard(self._full, SOON_S)

    async def finish(self, background: asyncio.Task[None]) -> None:
        """Write what is left, once the background has ended between two writes."""
        async with self._writing:
            background.cancel()
        await asyncio.gather(background, return_exceptions=True)
        await self.flush()


@contextlib.asynccontextmanager
async def recording(repository: Repository, job: Job) -> AsyncIterator[Recorder]:
    """A recorder that has written everything when the block is left, however it is left."""
    recorder = Recorder(repository, job)
    background = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        await recorder.finish(background)
