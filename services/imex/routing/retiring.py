"""The loop that tells validation which studies' payloads nobody needs any more."""

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import text

from imex.db import Database
from imex.db.tables.routing import holds
from imex.events import ids
from imex.events.envelope import LANES, Lane
from imex.events.retention import RetentionEnded, RetentionEndedData
from imex.routing.repository import Repository
from imex.routing.retention import kept_until
from imex.routing.surroundings import Surroundings
from imex.sharing.model import Study

_BATCH = 50
_UNSAID = timedelta(days=1)
"""Where it cannot be said until when, and where validation has not answered, it is looked again then."""
_ENDED = text(
    "SELECT source, study_uid FROM routing.studies"
    " WHERE retiring_at IS NULL AND disposed_at IS NULL"
    " AND (settled_at IS NOT NULL OR expired_at IS NOT NULL)"
    " AND (retention_at IS NULL OR retention_at <= :now)"
    " UNION ALL SELECT source, study_uid FROM routing.studies WHERE retiring_at < :unanswered LIMIT :limit"
)


class Retiring:
    """Looks again and again."""

    def __init__(self, database: Database, around: Surroundings, usual: timedelta) -> None:
        """`usual`: how long payloads stay after the end of a share, where no agreement says."""
        self._database = database
        self._around = around
        self._usual = usual

    async def turn(self) -> bool:
        """See to the studies whose shares have ended; true where more may be."""
        now = self._around.clock()
        async with self._database.unit() as unit:
            found = await unit.connection.execute(
                _ENDED, {"now": now, "unanswered": now - _UNSAID, "limit": _BATCH}
            )
            keys = [(row.source, row.study_uid) for row in found]
            if not keys:
                return False
            repository = Repository(unit.connection)
            known = await repository.lock_studies(keys)
            shares = await repository.shares_of(known)
            h = holds.c
            held = {
                (row.source, row.study_uid)
                for row in await unit.connection.execute(
                    holds.select()
                    .where(h.source.in_({key[0] for key in keys}))
                    .where(h.study_uid.in_({key[1] for key in keys}))
                )
            }
            after = []
            for key, study in known.items():
                of_study = [share for share in shares if share.study == key]
                until = kept_until(study, of_study, on_hold=key in held, usual=self._usual)
                if until is not None and until <= now:
                    study = replace(study, retiring_at=now)  # noqa: PLW2901
                    unit.publish(retention_ended(study, now))
                else:
                    study = replace(study, retiring_at=None, retention_at=until or now + _UNSAID)  # noqa: PLW2901
                after.append(study)
            await repository.save_studies(after)
        return len(keys) == _BATCH


def lane_of(study: Study) -> Lane:
    """The lane in which the study's instances are: what is said of it has to stay in order with them."""
    name = study.topic.rpartition(".")[2]
    return next(lane for lane in LANES if lane == name)


def retention_ended(study: Study, now: datetime) -> RetentionEnded:
    """Nobody needs the study's payloads any more."""
    return RetentionEnded.of(
        id=ids.derived("retention ended", *study.key, now.isoformat()),
        subject=study.study_uid,
        time=now,
        traceparent=ids.root_traceparent(*study.key),
        data=RetentionEndedData(
            source=study.source,
            study_uid=study.study_uid,
            lane=lane_of(study),
            received_through=study.last_activity_at,
        ),
    )
