"""What validation answers about payloads that nobody needs any more: they go, or they stay after all."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import text

from imex.db import UnitOfWork
from imex.events.validations import StudyDisposed, StudyKept
from imex.routing import publish
from imex.routing.carrying import carried
from imex.routing.docket import Docket
from imex.routing.publish import Cause
from imex.routing.sitting import locked
from imex.routing.states import SETTLED_STATES
from imex.routing.surroundings import Surroundings
from imex.sharing.model import Share, Study

Answer = StudyDisposed | StudyKept

_AGAIN = timedelta(hours=1)
_FORGET = text(
    "WITH gone AS (DELETE FROM routing.instances WHERE source = :source AND study_uid = :study_uid"
    "  AND received_at <= :through RETURNING event_id, source, study_uid, sop_instance_uid, digest,"
    "  series_uid, sop_class_uid),"
    " put AS (INSERT INTO routing.disposed (event_id, source, study_uid, sop_instance_uid, digest,"
    "  series_uid, sop_class_uid, at) SELECT event_id, source, study_uid, sop_instance_uid, digest,"
    "  series_uid, sop_class_uid, :at FROM gone)"
    " SELECT count(*) FROM gone"
)
_FORGET_ASSOCIATIONS = text(
    "DELETE FROM routing.associations WHERE source = :source AND study_uid = :study_uid"
    " AND ended_at IS NOT NULL AND seen_at <= :through"
)


async def take_note(unit: UnitOfWork, answers: Sequence[Answer], around: Surroundings) -> None:
    """Do what the answers say, in their order."""
    at = around.clock()
    async with locked(unit, around, {(one.data.source, one.data.study_uid) for one in answers}) as now:
        for answer in answers:
            key = (answer.data.source, answer.data.study_uid)
            study = now.studies.get(key)
            if study is None:
                continue
            match answer:
                case StudyKept():
                    now.studies[key] = replace(study, retiring_at=None, retention_at=at + _AGAIN)
                case StudyDisposed():
                    now.studies[key] = await _dispose(unit, now.docket, study, answer, at)


async def _dispose(
    unit: UnitOfWork, docket: Docket, study: Study, answer: StudyDisposed, now: datetime
) -> Study:
    through = answer.data.received_through
    where = {"source": study.source, "study_uid": study.study_uid, "through": through}
    gone = await unit.connection.scalar(_FORGET, {**where, "at": now}) or 0
    shares = [share for share in docket.of(study) if share.disposed_at is None]
    if study.last_activity_at > through or not all(share.state in SETTLED_STATES for share in shares):
        # more of it came in the moment between: what there was had arrived, and the rest goes on
        return replace(study, retiring_at=None, retention_at=None)
    await unit.connection.execute(_FORGET_ASSOCIATIONS, where)
    cause = Cause(answer.id, now)
    for share in shares:
        words = f"the images were deleted: {_why(share)}"
        docket.note(share, "images_deleted", cause, reason=words, details={"instances": gone})
        gone_share = docket.put(replace(share, disposed_at=now, at_disposal=_counted(study, share)))
        if gone_share.parts:
            # nothing of it can be tried again, and an inbox has nothing to show any more
            unit.publish(publish.manifest_withdrawn(replace(gone_share, reason=words), cause))
    return replace(
        study,
        validated=0,
        discarded=0,
        lost=0,
        disputed=0,
        recalled=0,
        bytes=0,
        retiring_at=None,
        retention_at=None,
        disposed_at=now,
    )


def _counted(study: Study, share: Share) -> dict[str, int]:
    study = carried(study, share)
    return {
        "received": study.received,
        "validated": study.validated,
        "quarantined": study.waiting,
        "bytes": study.bytes,
    }


def _why(share: Share) -> str:
    if share.state not in {"delivered", "partial"}:
        return f"the share is {share.state}"
    if share.legal_hold:
        return "nothing holds them any more"
    return "the time for which they are kept is over"
