"""Carries out the retrievals that are ordered, few at a time, beside the deliveries.

One holder's take at most half of the places: a C-MOVE may last for hours, and others are not to wait for it.
"""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from imex.db import is_outage
from imex.delivery.decide import backoff
from imex.delivery.retrieving.archive import Archive, Away, NotDone
from imex.delivery.retrieving.matching import Answer, Chosen, NotAskable, choose, keys_of
from imex.delivery.retrieving.rows import Done, Found, Job, LeaseLost, Rows
from imex.directory import DirectoryIndex
from imex.directory.model import DicomEndpoint, DicomwebEndpoint
from imex.events import Sealed
from imex.events.sealed import SealedWanted, seal_context
from imex.runtime import Health
from imex.runtime.backoff import heard

log = logging.getLogger(__name__)

OpenWanted = Callable[[Sealed, bytes], SealedWanted]
Queryable = DicomEndpoint | DicomwebEndpoint

MOST_TRIES: Final = 3
"""Of a study that an archive cannot send, or not all of."""
POLL_S: Final = 0.5


@dataclass(slots=True)
class _Troubles:
    """What kept one look from its end, by archive."""

    words: dict[str, str] = field(default_factory=dict)
    again_after: float = 0.0

    def note(self, endpoint: str, error: Away) -> None:
        self.words[endpoint] = f"{endpoint}: {error}"
        self.again_after = max(self.again_after, error.again_after)


class Retriever:
    """A component of the service: one loop that claims, and a task for each retrieval that runs."""

    name = "retrievals"

    def __init__(  # noqa: PLR0917  what it works with
        self,
        rows: Rows,
        directory: Callable[[], DirectoryIndex | None],
        archives: Mapping[str, Archive],
        open_wanted: OpenWanted,
        at_a_time: int,
        lease_s: float,
        most_tries: int = MOST_TRIES,
        counted: Callable[[str, str], None] = lambda _holder, _outcome: None,
    ) -> None:
        """`archives` by the type of endpoint; `counted` is told how looks end. Nothing runs yet."""
        self._counted = counted
        self._rows = rows
        self._directory = directory
        self._archives = archives
        self._open_wanted = open_wanted
        self._at_a_time = at_a_time
        self._of_a_holder = max(1, at_a_time // 2)
        self._renew_s = lease_s / 3
        self._most_tries = most_tries
        self._room = asyncio.Event()
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._holders: Counter[str] = Counter()
        self._loop: asyncio.Task[None] | None = None
        self._away = ""

    async def start(self) -> None:
        """Look for retrievals from now on."""
        self._loop = asyncio.create_task(self._look(), name=self.name)

    async def stop(self) -> None:
        """Break off what runs: another process goes on with it when its lease is over."""
        tasks = [*([self._loop] if self._loop else []), *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def running(self) -> int:
        """Retrievals that run here."""
        return len(self._running)

    def health(self) -> Health:
        """The service is ready without retrievals."""
        return Health(ready=True, detail=self._away)

    async def _look(self) -> None:
        while True:
            self._room.clear()
            try:
                await self._begin()
                self._away = ""
            except Exception as error:
                if not is_outage(error):
                    log.exception("retrievals cannot be claimed")
                self._away = "the database is not available"
            await heard(self._room, POLL_S)

    async def _begin(self) -> None:
        room = self._at_a_time - len(self._running)
        if room <= 0 or self._directory() is None:
            return
        for job in await self._rows.claim(room, list(self._running), self._of_a_holder, self._holders):
            task = asyncio.create_task(self._run(job))
            self._running[job.request] = task
            self._holders[job.holder] += 1
            task.add_done_callback(partial(self._ended, job))

    def _ended(self, job: Job, _: "asyncio.Task[None]") -> None:
        self._running.pop(job.request, None)
        self._holders[job.holder] -= 1
        self._room.set()

    async def _run(self, job: Job) -> None:
        working = asyncio.create_task(self.carry_out(job))
        renewing = asyncio.create_task(self._renew(job))
        try:
            await asyncio.wait([working, renewing], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                log.warning("a retrieval is broken off: its lease is gone request=%s", job.request)
                return
            working.result()
        except LeaseLost:
            log.warning("a retrieval is another's now request=%s", job.request)
        except Exception as error:
            if not is_outage(error):
                log.exception("a retrieval failed unexpectedly request=%s", job.request)
            with contextlib.suppress(Exception):
                await self._later(job, ["something failed: see delivery's log"], 0.0)
        finally:
            for task in (working, renewing):
                task.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)

    async def _renew(self, job: Job) -> None:
        """A long C-MOVE must not look like a process that has gone; ends when the job is another's."""
        while True:
            await asyncio.sleep(self._renew_s)
            try:
                await self._rows.renew(job)
            except LeaseLost:
                return
            except Exception as error:
                if not is_outage(error):
                    raise

    async def carry_out(self, job: Job) -> None:
        """One look: ask the archives that have not answered, fetch what is not here, and say what came of it.

        Raises:
            LeaseLost: the job is not held here any more.
        """
        if job.now >= job.expires_at:
            self._counted(job.holder, await self._rows.end(job, ["it was not done in time"]))
            return
        troubles = _Troubles()
        for name in job.endpoints:
            if name not in job.asked:
                await self._ask(job, name, troubles)
        for study in await self._rows.studies(job):
            if study.state == "waiting" and study.endpoint not in troubles.words:
                await self._fetch(job, study, troubles)
        if troubles.words or any(one.state == "waiting" for one in await self._rows.studies(job)):
            await self._later(job, list(troubles.words.values()), troubles.again_after)
        else:
            self._counted(job.holder, await self._rows.end(job))

    async def _later(self, job: Job, words: Sequence[str], again_after: float) -> None:
        failing_for = job.now - (job.failing_since or job.now)
        wait = backoff(job.failures + 1, failing_for, random.random())  # noqa: S311  spreads waits
        self._counted(job.holder, "waiting")
        await self._rows.wait(job, words, max(wait, timedelta(seconds=again_after)).total_seconds())

    async def _ask(self, job: Job, name: str, troubles: _Troubles) -> None:
        try:
            endpoint, archive = self._archive(job.holder, name)
            if job.wanted is None:
                raise NotDone("nobody knows any more who is meant")
            wanted = self._open_wanted(job.wanted, seal_context("request", job.request))
            known = await self._rows.studies(job)
            unissued = endpoint.query_issuer or ""

            def chosen(answers: Sequence[Answer], most: int) -> Chosen:
                return choose(answers, wanted, job.within, job.holder, unissued, job.held, most)

            def meant(answer: Answer) -> bool:
                found = chosen([answer], 1)
                return bool(found.fetch or found.held or found.uncovered)

            answers = await archive.ask(endpoint, keys_of(wanted), job.within, meant)
            decided = chosen(answers, max(0, job.most - len(known)))
        except Away as error:
            troubles.note(name, error)
        except (NotDone, NotAskable) as error:
            await self._rows.answered(job, name, Chosen(()), [f"{name}: {error}"], refused=True)
        else:
            await self._rows.answered(job, name, decided, _said(name, decided))

    async def _fetch(self, job: Job, study: Found, troubles: _Troubles) -> None:
        last = study.attempts + 1 >= self._most_tries
        said: tuple[str, ...]
        try:
            endpoint, archive = self._archive(job.holder, study.endpoint)
            fetched = await archive.fetch(endpoint, study.study_uid, job.holder, job.priority)
        except NotDone as error:
            done = Done("failed", said=(f"{study.endpoint}: {error}",))
        except Away as error:
            if not error.of_study:
                troubles.note(study.endpoint, error)
                return
            said = (f"{study.endpoint}: {error}",)
            done = Done("failed", said=said) if last else Done("waiting")
            troubles.again_after = max(troubles.again_after, error.again_after)
        else:
            if not fetched.failed:
                done = Done("fetched", fetched.instances)
            else:
                said = (f"{study.endpoint}: {fetched.words}",) if fetched.words and last else ()
                done = Done("failed" if last else "waiting", fetched.instances, fetched.failed, said)
        await self._rows.tried(job, study, done)

    def _archive(self, holder: str, name: str) -> tuple[Queryable, Archive]:
        index = self._directory()
        if index is None:
            raise Away("the directory is not known yet")
        endpoint = index.endpoint_for(holder, name)
        if not isinstance(endpoint, Queryable) or not endpoint.query:
            raise NotDone("the directory in force does not let it be asked any more")
        return endpoint, self._archives[endpoint.type]


def _said(name: str, chosen: Chosen) -> list[str]:
    said = []
    if chosen.uncovered:
        said.append(f"{name}: {chosen.uncovered} left out, as no agreement covers their modalities")
    if chosen.left_out:
        said.append(f"{name}: {chosen.left_out} older ones left out")
    return said
