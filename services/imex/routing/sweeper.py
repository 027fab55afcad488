"""What time alone does: shares and studies expire, and the root of a finished passage's trace is exported."""

from datetime import timedelta

from sqlalchemy import select, text, update

from imex.db import Database
from imex.db.tables import routing as tables
from imex.events import ids
from imex.routing import studies
from imex.routing.docket import Docket
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.requests import expire as expire_requests
from imex.routing.states import Fact
from imex.routing.studies import STUDY_KEPT
from imex.routing.surroundings import Surroundings

_BATCH = 50
_EXPIRING = ("requested", "accepted", "collecting", "delivering")
_EXPIRED_STUDIES = text(
    "UPDATE routing.studies SET expired_at = :now WHERE expires_at <= :now AND expired_at IS NULL"
)
_OLD_DECISIONS = text(
    "DELETE FROM routing.decisions WHERE seq IN"
    " (SELECT seq FROM routing.decisions WHERE at < :before ORDER BY at LIMIT :limit)"
)
_DELETED = 20_000


class Sweeper:
    """Two loops' turns over the database."""

    def __init__(self, database: Database, around: Surroundings, decisions_kept_days: int = 90) -> None:
        """The clock says what has expired."""
        self._kept = timedelta(days=decisions_kept_days)
        self._database = database
        self._around = around

    async def expire(self) -> bool:
        """Expire shares that were not delivered in time, and studies that nothing addressed."""
        now = self._around.clock()
        s = tables.shares.c
        async with self._database.unit() as unit:
            await unit.connection.execute(_EXPIRED_STUDIES, {"now": now})
            await expire_requests(unit, now)
            await unit.connection.execute(_OLD_DECISIONS, {"before": now - self._kept, "limit": _DELETED})
            rows = await unit.connection.execute(
                select(s.source, s.study_uid)
                .where(s.expires_at <= now, s.state.in_(_EXPIRING))
                .distinct()
                .limit(_BATCH)
            )
            keys = [(row.source, row.study_uid) for row in rows]
            if not keys:
                return False
            repository = Repository(unit.connection)
            known = await repository.lock_studies(keys)
            docket = Docket(unit, repository, await repository.shares_of(known), self._around.moved)
            for study in known.values():
                for share in docket.of(study):
                    if share.state in _EXPIRING and share.expires_at and share.expires_at <= now:
                        cause = Cause(ids.derived("expiry", str(share.id)), now)
                        words = f"not delivered within {STUDY_KEPT.days} days"
                        if share.state == "requested":
                            words = f"{share.recipient} did not accept it within {STUDY_KEPT.days} days"
                        docket.move(share, Fact.TIMED_OUT, cause, reason=words)
            await repository.save_studies(
                [studies.finished(study, docket.of(study), now) for study in known.values()]
            )
            await docket.write()
        return len(keys) == _BATCH

    async def export_roots(self) -> bool:
        """Export the root span of each study whose passage has ended; a crash may export one twice."""
        t = tables.studies.c
        async with self._database.unit() as unit:
            rows = list(
                await unit.connection.execute(
                    select(t.source, t.study_uid, t.first_received_at, t.settled_at)
                    .where(t.settled_at.is_not(None), t.root_exported_at.is_(None))
                    .order_by(t.source, t.study_uid)
                    .limit(_BATCH)
                    .with_for_update(skip_locked=True)
                )
            )
            for row in rows:
                now = self._around.clock()
                self._around.traces.export_root(
                    row.source, row.study_uid, row.first_received_at, now, {"source": row.source}
                )
                await unit.connection.execute(
                    update(tables.studies)
                    .where(t.source == row.source, t.study_uid == row.study_uid)
                    .values(root_exported_at=now)
                )
        return len(rows) == _BATCH
