"""Carries out the tests of endpoints that are asked for, few at a time, beside the deliveries."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final

from imex.db import is_outage
from imex.delivery.endpoint_tests.planning import Means, NoSuchEndpoint, endpoint_of, planned
from imex.delivery.endpoint_tests.rows import LEASE_S, Asked, Rows
from imex.delivery.endpoint_tests.steps import TOTAL_S, Result, Step, carry_out, outcome
from imex.directory import DirectoryIndex
from imex.runtime import Health

log = logging.getLogger(__name__)

AT_A_TIME: Final = 2
POLL_S: Final = 0.5
_RENEW_S: Final = LEASE_S / 3


class EndpointTester:
    """A component of the service: one loop that claims, and a task for each test that runs."""

    name = "endpoint tests"

    def __init__(
        self,
        rows: Rows,
        directory: Callable[[], DirectoryIndex | None],
        means: Means,
        *,
        total_s: float = TOTAL_S,
    ) -> None:
        """Nothing runs yet."""
        self._rows = rows
        self._directory = directory
        self._means = means
        self._room = asyncio.Event()
        """A test has ended."""
        self._total_s = total_s
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._away = ""
        self._stopping = False

    async def start(self) -> None:
        """Look for tests from now on."""
        self._loop = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Break off what runs: another process takes it up when its lease is over."""
        self._stopping = True
        tasks = [*self._running, *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def health(self) -> Health:
        """Tests are not what the service is there for: it is ready without them."""
        return Health(ready=True, detail=self._away)

    async def _look(self) -> None:
        while not self._stopping:
            self._room.clear()
            try:
                await self._begin()
                self._away = ""
            except Exception as error:
                if not is_outage(error):
                    log.exception("tests of endpoints cannot be claimed")
                self._away = "the database is not available"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):  # wait_for may lose a cancellation (gh-86296)
                    await self._room.wait()

    async def _begin(self) -> None:
        room = AT_A_TIME - len(self._running)
        for asked in await self._rows.claim(room) if room > 0 else []:
            task = asyncio.create_task(self._test(asked))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._room.set()

    async def _test(self, asked: Asked) -> None:
        try:
            steps = await self._steps(asked)
            await self._rows.end(asked.id, steps, *outcome(steps))
        except Exception as error:
            if not is_outage(error):
                log.exception("a test of an endpoint failed unexpectedly")
            with contextlib.suppress(Exception):
                await self._rows.end(
                    asked.id, [], "failed", "it could not be carried out: see delivery's log"
                )

    async def _steps(self, asked: Asked) -> list[Step]:
        try:
            endpoint = endpoint_of(self._directory(), asked.recipient, asked.endpoint)
        except NoSuchEndpoint as error:
            return [
                Step("directory entry", Result.FAILED, str(error), "Apply a directory that has it.", 0.0, {})
            ]

        async def told(steps: Sequence[Step]) -> None:
            await self._rows.tell(asked.id, steps)

        renewing = asyncio.create_task(self._renew(asked))
        try:
            async with planned(endpoint, self._means, send=asked.send) as plan:
                return await carry_out(plan, told, self._total_s)
        finally:
            renewing.cancel()

    async def _renew(self, asked: Asked) -> None:
        """A long step must not look like a process that has gone."""
        while True:
            await asyncio.sleep(_RENEW_S)
            with contextlib.suppress(Exception):
                await self._rows.renew(asked.id)
