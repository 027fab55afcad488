"""What delivery says of retrievals, and the loop that shares what was fetched, once each."""

from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import RowMapping, select, text, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import Database, UnitOfWork, is_outage
from imex.db.tables import routing as tables
from imex.events import ids
from imex.events.retrievals import RetrievalMatched, RetrievalProgressed
from imex.routing import granting
from imex.routing.repository import Repository
from imex.routing.surroundings import Surroundings
from imex.routing.wanted import OpenWanted, fits
from imex.sharing.model import Study, StudyKey

_BATCH: Final = 50
LOOK_AGAIN: Final = timedelta(seconds=5)
"""An open request that is granted is looked for so often; a study that does not fit yet, too."""
_GOES_ON: Final = ("open", "granted")

_HERE = text(
    "SELECT f.request, f.source, f.study_uid FROM routing.request_studies f"
    " JOIN routing.studies s ON s.source = f.source AND s.study_uid = f.study_uid"
    " JOIN routing.requests r ON r.id = f.request"
    " WHERE f.shared_at IS NULL AND s.validated > 0 AND s.disposed_at IS NULL"
    " AND r.state IN ('open', 'granted') AND r.expires_at > :now"
    " AND (f.looked_at IS NULL OR f.looked_at <= :before)"
    " ORDER BY f.looked_at NULLS FIRST, f.request, f.study_uid LIMIT :limit"
)
_WAITING = text(
    "SELECT id FROM routing.requests WHERE state = 'open' AND granted_at IS NOT NULL"
    " AND (looked_at IS NULL OR looked_at <= :before) ORDER BY looked_at NULLS FIRST, id LIMIT :limit"
)

RetrievalFact = RetrievalMatched | RetrievalProgressed

_log = structlog.get_logger(__name__)


async def hear(unit: UnitOfWork, facts: Sequence[RetrievalFact]) -> None:
    """Note what archives have, and how far it is; what is said of an earlier order counts no more."""
    for fact in facts:
        row = await _locked(unit, fact.data.request)
        if row is None or row["retrieval_order"] != fact.data.order or row["state"] not in _GOES_ON:
            continue
        match fact:
            case RetrievalMatched(data=matched):
                found = {"request": row["id"], "source": row["holder"], "endpoint": matched.endpoint}
                rows = [{**found, "study_uid": uid} for uid in sorted(set(matched.studies))]
                if rows:
                    await unit.connection.execute(
                        insert(tables.request_studies).on_conflict_do_nothing(), rows
                    )
            case RetrievalProgressed(data=said):
                await unit.connection.execute(
                    update(tables.requests)
                    .where(tables.requests.c.id == row["id"])
                    .values(retrieval=said.state, retrieval_words=said.reason)
                )
                await granting.forget(unit, row["id"])


class Answering:
    """Shares what has come in for requests that are granted."""

    def __init__(self, database: Database, around: Surroundings, open_wanted: OpenWanted) -> None:
        """The clock says what is looked at again."""
        self._database = database
        self._around = around
        self._open_wanted = open_wanted

    async def turn(self) -> bool:
        """See to what was fetched, then to what came by itself; true where more may be."""
        if self._around.directories.current() is None:
            return False
        now = self._around.clock()
        before = now - LOOK_AGAIN
        async with self._database.look() as connection:
            here = list(await connection.execute(_HERE, {"now": now, "before": before, "limit": _BATCH}))
            waiting = list(await connection.execute(_WAITING, {"before": before, "limit": _BATCH}))
        works = [(one.request, self._fetched(one.request, (one.source, one.study_uid), now)) for one in here]
        works += [(one.id, self._look(one.id, now)) for one in waiting]
        done = [await self._carefully(request, work) for request, work in works]
        return all(done) and _BATCH in {len(here), len(waiting)}

    async def _carefully(self, request: UUID, work: Coroutine[Any, Any, None]) -> bool:
        try:
            await work
        except Exception as error:
            if is_outage(error):
                raise
            # one that cannot be seen to keeps no other from it
            _log.exception("a request cannot be answered", request=str(request))
            return False
        return True

    async def _fetched(self, request: UUID, key: StudyKey, now: datetime) -> None:
        """A study that an archive of the holder has, and that is here."""
        f = tables.request_studies.c
        one = (f.request == request, f.source == key[0], f.study_uid == key[1], f.shared_at.is_(None))
        async with self._database.unit() as unit:
            row = await _locked(unit, request)
            study = (await Repository(unit.connection).look_at_studies([key])).get(key)
            if row is None or row["state"] not in _GOES_ON or study is None:
                return
            if not fits(study, row) or not await self._is_meant(unit, row, study):
                # more of it may still come; what an archive says of a study its images may not bear out
                await unit.connection.execute(
                    update(tables.request_studies).where(*one).values(looked_at=now)
                )
                return
            taken = await unit.connection.execute(
                update(tables.request_studies).where(*one).values(looked_at=now, shared_at=now)
            )
            if taken.rowcount:
                await self._share(unit, row, [key], ids.derived("retrieved", str(request), *key), now)

    async def _is_meant(self, unit: UnitOfWork, row: RowMapping, study: Study) -> bool:
        """Whether the images that came are of who, or what, is asked for."""
        if row["wanted"] is None:
            return False
        found = await granting.all_matching(Repository(unit.connection), row, self._open_wanted)
        return study.key in {one.key for one in found}

    async def _look(self, request: UUID, now: datetime) -> None:
        """A request that is granted, and that nothing was found for: something may have come in."""
        async with self._database.unit() as unit:
            row = await _locked(unit, request)
            if row is None or row["state"] != "open" or row["granted_at"] is None:
                return
            await unit.connection.execute(
                update(tables.requests).where(tables.requests.c.id == request).values(looked_at=now)
            )
            found = await granting.matching(Repository(unit.connection), row, self._open_wanted)
            keys = [study.key for study in found]
            if keys:
                await self._share(unit, row, keys, ids.derived("came in", str(request)), now)

    async def _share(
        self, unit: UnitOfWork, row: RowMapping, keys: Sequence[StudyKey], cause: UUID, now: datetime
    ) -> None:
        by, words = row["granted_by"], row["grant_words"]
        shares = await granting.share(unit, row, keys, cause, self._around, by=by, words=words, once=True)
        if shares:
            await granting.answered(unit, row, by, words, now)


async def _locked(unit: UnitOfWork, request: UUID) -> RowMapping | None:
    found = await unit.connection.execute(
        select(tables.requests).where(tables.requests.c.id == request).with_for_update()
    )
    return found.mappings().one_or_none()
