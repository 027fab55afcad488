"""Carries out the tests of endpoints that are asked for, few at a time, beside the deliveries."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final
from uuid import UUID

from imex.db import is_outage
from imex.delivery.endpoint_tests.planning import Means, NoSuchEndpoint, endpoint_of, planned
from imex.delivery.endpoint_tests.rows import LEASE_S, Asked, Rows
from imex.delivery.endpoint_tests.steps import TOTAL_S, Result, Step, carry_out, outcome
from imex.directory import DirectoryIndex
from imex.runtime import Health
from imex.runtime.backoff import heard

log = logging.getLogger(__name__)

AT_A_TIME: Final = 2
POLL_S: Final = 0.5
_RENEW_S: Final = LEASE_S / 3


class _Lost(Exception):
    """Another process has taken the test up: an endpoint is asked by one at a time."""


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
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._loop: asyncio.Task[None] | None = None
        self._away = ""
        self._stopping = False

    async def start(self) -> None:
        """Look for tests from now on."""
        self._loop = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Break off what runs: another process takes it up when its lease is over."""
        self._stopping = True
        tasks = [*self._running.values(), *([self._loop] if self._loop else [])]
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
            await heard(self._room, POLL_S)

    async def _begin(self) -> None:
        room = AT_A_TIME - len(self._running)
        for asked in await self._rows.claim(room, list(self._running)) if room > 0 else []:
            task = asyncio.create_task(self._test(asked))
            self._running[asked.id] = task
            task.add_done_callback(partial(self._ended, asked.id))

    def _ended(self, test: UUID, _: "asyncio.Task[None]") -> None:
        self._running.pop(test, None)
        self._room.set()

    async def _test(self, asked: Asked) -> None:
        try:
            steps = await self._steps(asked)
            await self._rows.end(asked.id, steps, *outcome(steps))
        except _Lost:
            log.warning("a test of an endpoint is another process' now")
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
            if not await self._rows.tell(asked.id, steps):
                raise _Lost

        async with planned(endpoint, self._means, send=asked.send) as plan:
            held = asyncio.create_task(self._renew(asked))
            carried = asyncio.create_task(carry_out(plan, told, self._total_s))
            try:
                await asyncio.wait({held, carried}, return_when=asyncio.FIRST_COMPLETED)
                if not carried.done():
                    raise _Lost
                return carried.result()
            finally:
                for task in (held, carried):
                    task.cancel()
                await asyncio.gather(held, carried, return_exceptions=True)

    async def _renew(self, asked: Asked) -> None:
        """A long step must not look like a process that has gone. Ends when another one has the test."""
        held = True
        while held:
            await asyncio.sleep(_RENEW_S)
            with contextlib.suppress(Exception):
                held = await self._rows.renew(asked.id)
