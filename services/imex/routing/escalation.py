"""The loop that finds shares whose objective is at risk: their deliveries overtake, and people are told.

Only what delivery does first changes. The lane of the study's events and of the share's manifests stays what
it was, so that they stay in order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

import structlog
from sqlalchemy import text

from imex.db import Database, UnitOfWork, is_outage
from imex.events import Priority, ids
from imex.routing import notices, publish
from imex.routing.docket import Docket
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.surroundings import Surroundings
from imex.sharing.model import Share, StudyKey, more_urgent

_BATCH = 50
_UNDELIVERED = frozenset({"requested", "accepted", "collecting", "delivering"})
# the clock of a share begins with the first instance of what it carries: of a study that was there before,
# came once more, or travels along with another, with the share itself
_AT_RISK = text(
    "SELECT s.id, s.source, s.study_uid FROM routing.shares s"
    " JOIN routing.studies t ON t.source = s.source AND t.study_uid = s.study_uid"
    " JOIN unnest(CAST(:priorities AS text[]), CAST(:seconds AS int[])) AS o(priority, seconds)"
    " ON o.priority = s.priority"
    " WHERE s.escalated_at IS NULL AND s.state IN ('requested', 'accepted', 'collecting', 'delivering')"
    " AND coalesce(s.escalate_after_s, nullif(o.seconds, 0)) IS NOT NULL"
    " AND CASE WHEN s.passage = 1 AND s.episode = 1 AND s.origin NOT IN ('command', 'prior')"
    " THEN least(t.first_received_at, s.created_at) ELSE s.created_at END"
    " + make_interval(secs => coalesce(s.escalate_after_s, o.seconds)) <= :now"
    " ORDER BY s.created_at LIMIT :limit"
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Objectives:
    """In how many seconds a share should be delivered, where its rule does not say; 0: whenever."""

    emergency: int = 300
    urgent: int = 3600
    routine: int = 86_400

    def seconds(self) -> Mapping[Priority, int]:
        """By priority."""
        return {"emergency": self.emergency, "urgent": self.urgent, "routine": self.routine}


@dataclass(frozen=True, slots=True)
class Escalated:
    """What becomes of a share whose objective is at risk, and why."""

    to: Priority
    reason: str


def escalated(share: Share, objectives: Objectives) -> Escalated | None:
    """What becomes of a share that is not delivered in its time; None where it is, or was seen to already.

    A rule says itself what the share is raised to. The objectives in general make what is routine urgent;
    what is more than that stays as it is, as only a rule can know that it may overtake emergencies, and
    people are told.
    """
    if share.escalated_at is not None or share.state not in _UNDELIVERED:
        return None
    if share.escalate_after_s is not None:
        whose = f"the objective of standing rule {share.rule}"
        wanted = share.escalate_after_s
        to: Priority = share.escalate_to or "urgent"
    else:
        whose = f"the objective of {share.priority} shares"
        wanted = objectives.seconds()[share.priority]
        to = "urgent"
    if not wanted:
        return None
    words = f"not delivered {_duration(wanted)} after its first instance, {whose}"
    return Escalated(more_urgent(share.priority, to), words)


class Escalation:
    """Looks again and again."""

    def __init__(
        self,
        database: Database,
        around: Surroundings,
        objectives: Objectives,
        counted: Callable[[str, str], None] = lambda _before, _to: None,
    ) -> None:
        """The clock says when; `counted` is told of each escalation, from which priority to which."""
        self._counted = counted
        self._database = database
        self._around = around
        self._objectives = objectives

    async def turn(self) -> bool:
        """Escalate what is due; true where more may be."""
        seconds = self._objectives.seconds()
        parameters = {
            "priorities": list(seconds),
            "seconds": list(seconds.values()),
            "now": self._around.clock(),
            "limit": _BATCH,
        }
        async with self._database.look() as connection:
            found = list(await connection.execute(_AT_RISK, parameters))
        done = 0
        for share, source, study_uid in found:
            try:
                async with self._database.unit() as unit:
                    done += await self._escalate(unit, (source, study_uid), share)
            except Exception as error:
                if is_outage(error):
                    raise
                # one share that cannot be escalated keeps no other from it
                _log.exception("share cannot be escalated", share=str(share))
        return done == _BATCH

    async def _escalate(self, unit: UnitOfWork, key: StudyKey, which: UUID) -> bool:
        repository = Repository(unit.connection)
        if await repository.lock_free_study(key) is None:
            return False  # something happens to it at this moment: it is looked at again
        docket = Docket(unit, repository, await repository.shares_of([key]), self._around.moved)
        share = docket.get(which)
        found = escalated(share, self._objectives) if share else None
        if share is None or found is None:
            return False
        cause = Cause(ids.derived("escalate", str(share.id)), self._around.clock())
        await _raise(unit, docket, share, found, cause)
        await docket.write()
        unit.after_commit(lambda: self._counted(share.current_priority, found.to))
        return True


async def _raise(unit: UnitOfWork, docket: Docket, share: Share, found: Escalated, cause: Cause) -> None:
    before = share.current_priority
    share = docket.put(replace(share, escalated_to=found.to, escalated_at=cause.at, updated_at=cause.at))
    raised = share.current_priority != before
    became = f"raised from {before} to {share.current_priority}" if raised else f"{before} as before"
    details = {"from": before, "to": share.current_priority}
    docket.note(share, "escalated", cause, reason=f"{became}: {found.reason}", details=details)
    share = docket.announce(share, "escalated", cause, {**details, "reason": found.reason})
    unit.publish(publish.escalation_audited(share, before, found.reason, cause))
    if raised and share.parts:
        unit.publish(publish.manifest_prioritised(share, found.reason, cause))
    reason = f"{_subject(share.current_priority)} to {share.recipient} is {found.reason}"
    await notices.about_share(unit, "escalated", share, reason, cause.at)
    _log.warning(
        "share escalated",
        share=str(share.id),
        study_uid=share.study_uid,
        trace_id=ids.trace_id_hex(share.source, share.study_uid),
        **details,
    )


def _subject(priority: Priority) -> str:
    return {"emergency": "an emergency", "urgent": "an urgent share", "routine": "a routine share"}[priority]


def _duration(seconds: int) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"
