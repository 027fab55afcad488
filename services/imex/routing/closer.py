"""The loop that closes studies: each due one is looked at once everything before its deadline was read."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog
from sqlalchemy import text

from imex.db import Database, UnitOfWork, is_outage
from imex.events import ids
from imex.observability.names import SpanName
from imex.observability.traces import traceparent_of
from imex.routing import studies
from imex.routing.completeness import closing, grace_ends
from imex.routing.deciding import Deciding
from imex.routing.docket import Docket
from imex.routing.handover import HandOver
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.series import there
from imex.routing.stuck import note_stuck
from imex.routing.surroundings import Surroundings
from imex.sharing.model import Share, Study, StudyKey

_CLAIMED = 50
_COUNT_S = 5.0
_RETRY = timedelta(seconds=30)
_DUE = text(
    "SELECT s.source, s.study_uid, p.through FROM routing.studies s"
    " JOIN unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:throughs AS timestamptz[]))"
    " AS p(topic, partition, through) ON s.topic = p.topic AND s.partition = p.partition"
    " WHERE s.due_at <= p.through ORDER BY s.due_at LIMIT :limit"
)
_OPEN = text("SELECT count(*) FROM routing.studies WHERE due_at IS NOT NULL")

_log = structlog.get_logger(__name__)


class Reader(Protocol):
    """Who reads the topics of validation."""

    def partitions(self) -> set[tuple[str, int]]:
        """The topics and partitions held now."""
        ...

    def read_through(self, topic: str, partition: int) -> datetime | None:
        """The time through which a partition has been handled."""
        ...


class Closer:
    """Completes shares whose study has gone quiet."""

    def __init__(
        self,
        database: Database,
        readers: Sequence[Reader],
        around: Surroundings,
        collected: Callable[[str, float], None] = lambda _priority, _seconds: None,
        open_studies: Callable[[int], None] = lambda _count: None,
        *,
        judged_through: Callable[[str], datetime | None] = lambda _topic: datetime.max.replace(tzinfo=UTC),
    ) -> None:
        """Only studies of partitions that `readers` hold are closed here.

        `collected` is told how many seconds after its first instance a study was complete; `open_studies`
        how many are not complete yet. `judged_through` is the time through which validation has judged what
        was received on a lane, by its topic; None while nobody knows.
        """
        self._database = database
        self._readers = readers
        self._around = around
        self._collected = collected
        self._open_studies = open_studies
        self._counted = 0.0
        self._judged_through = judged_through

    async def turn(self) -> bool:
        """Look at the studies that are due; true where more may be."""
        read = {
            held: through
            for reader in self._readers
            for held in reader.partitions()
            if (through := reader.read_through(*held)) is not None
        }
        if not read or self._around.directories.current() is None:
            return False
        parameters = {
            "topics": [topic for topic, _ in read],
            "partitions": [partition for _, partition in read],
            "throughs": list(read.values()),
            "limit": _CLAIMED,
        }
        async with self._database.look() as connection:
            due = list(await connection.execute(_DUE, parameters))
            if time.monotonic() - self._counted >= _COUNT_S:
                self._counted = time.monotonic()
                self._open_studies(int(await connection.scalar(_OPEN) or 0))
        for source, study_uid, through in due:
            await self._look(source, study_uid, through)
        return len(due) == _CLAIMED

    async def _look(self, source: str, study_uid: str, through: datetime) -> None:
        key = (source, study_uid)
        try:
            async with self._database.unit() as unit:
                await self._close(unit, key, through)
        except Exception as error:
            if is_outage(error):
                raise
            # one study that cannot be closed keeps no other from it
            _log.exception("study cannot be closed", study_uid=study_uid, source=source)
            await self._set_aside(key, through, type(error).__name__)

    async def _close(self, unit: UnitOfWork, key: StudyKey, through: datetime) -> None:
        repository = Repository(unit.connection)
        study = await repository.lock_free_study(key)
        if study is None or study.due_at is None or study.due_at > through:
            return
        shares = await repository.shares_of([key])
        docket = Docket(unit, repository, shares, self._around.moved)
        now = self._around.clock()
        cause = Cause(ids.derived("close", *key, study.due_at.isoformat()), now)
        if study.validated == 0 and study.waiting and not shares:
            await self._address_held(unit, docket, study, cause)
        lacking = await _lacking_series(repository, key, docket.of(study))
        has_open = await repository.has_open_association(key)
        found = closing(
            study,
            docket.of(study),
            read_through=through,
            open_associations=has_open,
            judged=not has_open or self._judged(study, through),
            default_quiet_s=self._around.default_quiet_s,
            association_grace_s=self._around.association_grace_s,
            lacking_series=lacking,
        )
        if found.complete:
            with self._around.traces.span(SpanName.CLOSE, *key) as span:
                cause = replace(cause, traceparent=traceparent_of(span))
                await self._hold(unit, docket, study, cause)
                hand_over = HandOver(unit, repository, docket, self._around.index())
                for complete in found.complete:
                    share = docket.get(complete.id)
                    if share is None or not share.live:
                        continue
                    await hand_over.complete(study, share, cause)
                    self._collected(share.priority, (now - study.first_received_at).total_seconds())
        closed_at = study.closed_at if found.next_due else now
        study = replace(study, due_at=found.next_due, closed_at=closed_at)
        await repository.save_studies([studies.finished(study, docket.of(study), now)])
        await docket.write()

    async def _hold(self, unit: UnitOfWork, docket: Docket, study: Study, cause: Cause) -> None:
        """Ask once more before anything is handed over.

        A batch that began before a mark was set, or with the directory before, may have written its shares
        behind the look for what that concerns.
        """
        async with self._deciding(unit, docket, study) as deciding:
            deciding.hold_again(study, cause)

    @asynccontextmanager
    async def _deciding(self, unit: UnitOfWork, docket: Docket, study: Study) -> AsyncIterator[Deciding]:
        backgrounds = await self._around.backgrounds.around(unit.connection, [study])
        deciding = Deciding(docket, self._around.index(), backgrounds)
        yield deciding
        await deciding.write(unit.connection)

    def _judged(self, study: Study, through: datetime) -> bool:
        """Whether validation has judged what was received of an open study until its grace ends."""
        until = grace_ends(study, self._around.association_grace_s)
        if through < until:
            return False  # it stays open anyway: nobody need be asked
        judged = self._judged_through(study.topic)
        return judged is not None and judged >= until

    async def _address_held(self, unit: UnitOfWork, docket: Docket, study: Study, cause: Cause) -> None:
        """Everything of the study is in quarantine: its shares say so, instead of there being none.

        Only now are the rules asked with what such instances say of themselves; nothing of them leaves.
        """
        modalities, classes, parts = await Repository(unit.connection).held_facts(study.key)
        held = replace(study, modalities=modalities, sop_classes=classes, body_parts=parts)
        async with self._deciding(unit, docket, study) as deciding:
            deciding.ask(held, cause)

    async def _set_aside(self, key: StudyKey, through: datetime, why: str) -> None:
        later = max(through, self._around.clock()) + _RETRY
        async with self._database.unit() as unit:
            await note_stuck(unit, key, f"it cannot be closed: {why}", later)


async def _lacking_series(repository: Repository, key: StudyKey, shares: Sequence[Share]) -> frozenset[UUID]:
    """Shares that wait for a series which is not there."""
    waiting = [(share.id, share.required_series) for share in shares if share.live and not share.complete]
    wanted = [(share, condition) for share, condition in waiting if condition is not None]
    if not wanted:
        return frozenset()
    series = await repository.series_of(key)
    return frozenset(share for share, condition in wanted if not there(condition, series))
