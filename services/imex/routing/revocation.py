"""The loop that stops what has not been delivered when the agreement behind it is gone, changed or over."""

from collections.abc import Collection
from datetime import date
from typing import Any

import structlog
from sqlalchemy import TextClause, text

from imex.db import Database, is_outage
from imex.directory import Agreement, DirectoryIndex
from imex.directory.index import local_time
from imex.routing.sitting import hold, sitting
from imex.routing.surroundings import Surroundings
from imex.sharing.model import StudyKey

_BATCH = 50
# what failed may be tried again
_UNDELIVERED = "s.state IN ('requested', 'accepted', 'collecting', 'delivering', 'partial', 'failed')"
_BY_AGREEMENT = text(
    "SELECT DISTINCT s.source, s.study_uid FROM routing.shares s"  # noqa: S608 - a constant
    f" WHERE s.agreement = ANY(CAST(:agreements AS text[])) AND {_UNDELIVERED} ORDER BY 1, 2"
)
_ALL = text(
    "SELECT DISTINCT s.source, s.study_uid FROM routing.shares s"  # noqa: S608 - a constant
    f" WHERE s.agreement IS NOT NULL AND s.directory_version <> :version AND {_UNDELIVERED} ORDER BY 1, 2"
)

_log = structlog.get_logger(__name__)


def shaken(before: DirectoryIndex, after: DirectoryIndex, since: date, today: date) -> frozenset[str]:
    """Ids of agreements that say something else than before, or have ended since that day.

    Of one that covers institutions by a group, the members count; so does a recipient's or source's kind of
    being there at all.
    """
    were, are = (
        {one.id: (one, _parties(index, one)) for one in index.directory.agreements}
        for index in (before, after)
    )
    changed = {name for name, known in were.items() if are.get(name) != known}
    ended = {
        one.id
        for one in after.directory.agreements
        if one.valid_until is not None and since <= one.valid_until < today
    }
    return frozenset(changed | ended)


def _parties(index: DirectoryIndex, agreement: Agreement) -> tuple[frozenset[str], frozenset[str]]:
    sources, recipients = (
        frozenset(
            member
            for code in codes
            for member in (index.groups[code].members if code in index.groups else (code,))
        )
        for codes in (agreement.from_, agreement.to)
    )
    return sources, recipients


class Revocation:
    """Looks at every new version of the directory, and at every new day."""

    def __init__(self, database: Database, around: Surroundings) -> None:
        """The clock says what day it is."""
        self._database = database
        self._around = around
        self._seen: DirectoryIndex | None = None
        self._day: date | None = None

    async def turn(self) -> bool:
        """Hold shares to the version in force, where it may say something else of them."""
        index, today = self._around.directories.current(), local_time(self._around.clock()).date()
        if index is None or (index is self._seen and today == self._day):
            return False
        if self._seen is None or self._day is None:
            # whatever changed while nobody looked
            found = await self._find(_ALL, {"version": index.version})
        else:
            agreements = shaken(self._seen, index, self._day, today)
            found = await self._find(_BY_AGREEMENT, {"agreements": sorted(agreements)}) if agreements else []
        for first in range(0, len(found), _BATCH):
            await self._hold(found[first : first + _BATCH], index, today)
        self._seen, self._day = index, today
        return False

    async def _find(self, statement: TextClause, parameters: dict[str, Any]) -> list[StudyKey]:
        async with self._database.look() as connection:
            rows = await connection.execute(statement, parameters)
            return [(row.source, row.study_uid) for row in rows]

    async def _hold(self, keys: Collection[StudyKey], index: DirectoryIndex, today: date) -> None:
        try:
            async with self._database.unit() as unit, sitting(unit, self._around, keys) as now:
                hold(now, self._around.clock(), f"{index.version}/{today}")
        except Exception as error:
            if is_outage(error):
                raise
            if len(keys) == 1:
                [(source, study_uid)] = keys
                _log.exception("shares cannot be held to the directory", source=source, study_uid=study_uid)
                return
            # one study that cannot be judged keeps no other from it
            for key in keys:
                await self._hold([key], index, today)
