"""What an attempt has to send: pages from the database, and parts that come while it runs."""

import asyncio
from collections import deque
from collections.abc import Callable

from imex.delivery.jobs import Instance, Job
from imex.delivery.recorder import Recorder
from imex.delivery.repository import PAGE, Repository
from imex.delivery.wake import Inlet
from imex.runtime.backoff import heard

_OTHER_PROCESSES_S = 0.5
"""How often to look for parts that another process may have written."""


class Supply:
    """Hands out each instance once in an attempt, to all its associations."""

    def __init__(
        self,
        job: Job,
        repository: Repository,
        recorder: Recorder,
        inlet: Inlet,
        *,
        linger_s: float,
        must_stop: Callable[[], bool],
    ) -> None:
        """Nothing is read yet. `linger_s`: how long an emergency waits for the next part of its manifest."""
        self._job = job
        self._repository = repository
        self._recorder = recorder
        self._inlet = inlet
        self._linger_s = linger_s
        self._must_stop = must_stop
        self._pending: deque[Instance] = deque()
        self._seen: set[tuple[str, str]] = set()
        self._unsettled = 0
        self._may_be_more = True
        self._expected = True
        self._reading = asyncio.Lock()
        self._contexts: list[tuple[str, str]] = []

    @property
    def backlog(self) -> int:
        """Instances at hand."""
        return len(self._pending)

    @property
    def contexts(self) -> list[tuple[str, str]]:
        """SOP classes and transfer syntaxes of what waits, as far as is known, the next one's first."""
        return list(dict.fromkeys([*(one.context for one in self._pending), *self._contexts]))

    def now(self) -> Instance | None:
        """The next instance, when there is one at hand."""
        if self._inlet.came.is_set():
            self._take_in(self._inlet.take())
        if not self._pending:
            return None
        self._unsettled += 1
        return self._pending.popleft()

    def back(self, instance: Instance) -> None:
        """It was not sent: it is the next again."""
        self._unsettled -= 1
        self._pending.appendleft(instance)
        self._inlet.came.set()

    def settled(self) -> None:
        """An instance has its outcome, and does not wait any more."""
        self._unsettled -= 1

    def poke(self) -> None:
        """Wake whoever waits for something to come."""
        self._inlet.came.set()

    async def ready(self, *, lingers: bool, unless: Callable[[], bool] = lambda: False) -> bool:
        """Wait until there is something at hand; false when nothing more is to be sent.

        Only one that `lingers` waits for parts that are still to come, and only those of an emergency do,
        as long as `unless` is not true.
        """
        while not self._must_stop():
            if self._inlet.came.is_set():
                self._take_in(self._inlet.take())
            if self._pending:
                return True
            if self._may_be_more:
                await self._look()
            elif not lingers or not await self._comes(unless):
                return False
        return False

    async def _look(self) -> None:
        """The next page. What has no outcome yet, and what was put off, still waits there."""
        async with self._reading:
            if self._pending or not self._may_be_more:
                return
            await self._recorder.flush()
            limit = PAGE + self._unsettled
            first = not self._seen
            page = await self._repository.waiting(self._job.id, limit)
            self._may_be_more = len(page) == limit
            if first and self._may_be_more:
                self._contexts = await self._repository.waiting_contexts(self._job.id)
            self._take_in(page)

    def _take_in(self, instances: list[Instance]) -> None:
        for one in instances:
            key = (one.sop_instance_uid, one.digest)
            if key not in self._seen:
                self._seen.add(key)
                self._pending.append(one)

    async def _comes(self, unless: Callable[[], bool]) -> bool:
        """Wait for the next part of an emergency, while its association is open anyway."""
        if self._job.lane != "express":
            return False
        deadline = asyncio.get_running_loop().time() + self._linger_s
        while not unless() and await self._expects_more() and not self._must_stop():
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            if await heard(self._inlet.came, min(left, _OTHER_PROCESSES_S)):
                self._take_in(self._inlet.take())
                if self._pending:
                    return True
            else:
                self._may_be_more = True
                await self._look()
                self._inlet.changed = True
                if self._pending:
                    return True
        return False

    async def _expects_more(self) -> bool:
        """Whether parts are still to come; asked again when something else than a part has come."""
        if self._inlet.changed:
            self._inlet.changed = False
            self._expected = await self._repository.expects_more(self._job.id)
        return self._expected
