"""What waits in quarantine for longer than anybody will decide about it: it is discarded, and told.

A study of which something waits keeps all its payloads. What nobody looks at must not keep them for ever.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import RowMapping, select

from imex.db import Database
from imex.db.tables.validation import quarantine
from imex.events.commands import QuarantineCommanded, QuarantineCommandedData
from imex.events.ids import derived
from imex.validation.audit import SERVICE
from imex.validation.decisions import settle
from imex.validation.repository import Repository

BATCH: Final = 100
log = structlog.get_logger(__name__)


class Undecided:
    """Looks for entries whose time is over, and discards them as a person would."""

    def __init__(self, database: Database, clock: Callable[[], datetime], *, days: float) -> None:
        """`days` is how long an entry waits."""
        self._database = database
        self._clock = clock
        self._days = days

    async def turn(self) -> bool:
        """Discard some; true where more may be due."""
        q = quarantine.c
        before = self._clock() - timedelta(days=self._days)
        async with self._database.unit() as unit:
            due = await unit.connection.execute(
                select(q.id, q.source, q.study_uid)
                # of two copies in dispute a person says which one stands: discarding one lets the other go on
                .where(q.state == "waiting", q.disputes.is_(None), q.created_at < before)
                .order_by(q.created_at)
                .limit(BATCH)
                .with_for_update(skip_locked=True)
            )
            entries = due.mappings().all()
            repository = Repository(unit.connection)
            for entry in entries:
                await settle(self._discarding(entry), repository, unit)
        if entries:
            log.warning("quarantine entries discarded that nobody decided about", number=len(entries))
        return len(entries) == BATCH

    def _discarding(self, entry: RowMapping) -> QuarantineCommanded:
        return QuarantineCommanded.of(
            id=derived("undecided", str(entry["id"])),
            subject=str(entry["id"]),
            data=QuarantineCommandedData(
                source=entry["source"],
                study_uid=entry["study_uid"],
                command="discard",
                quarantine=entry["id"],
                reason=f"nobody decided about it within {self._days:g} days",
                actor=SERVICE,
            ),
        )
