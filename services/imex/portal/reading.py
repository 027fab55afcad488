"""Who may read what lies in an inbox, and what is kept and told of it when somebody does."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from imex.db import UnitOfWork
from imex.directory.index import local_time
from imex.events.audit import AuditAction
from imex.events.commands import ViewReported, ViewReportedData
from imex.events.ids import derived, root_traceparent
from imex.events.shares import ShareState
from imex.portal import audit
from imex.portal.problems import Problem, forbidden, not_found
from imex.portal.queries import inbox, shares
from imex.portal.queries.inbox import InboxShare
from imex.portal.scope import Caller

How = Literal["opened", "downloaded"]

_GONE: dict[ShareState, str] = {
    "refused": "was refused",
    "failed": "could not be delivered",
    "cancelled": "was called off",
    "revoked": "was taken back",
    "expired": "has expired",
}
_NOT_YET: frozenset[ShareState] = frozenset({"accepted", "collecting", "delivering"})
_ACTIONS: dict[How, AuditAction] = {"opened": "share_viewed", "downloaded": "instances_exported"}


@dataclass(frozen=True, slots=True)
class Reading:
    """A share that the caller may read now, and how the study is known where it came from."""

    share: InboxShare
    facts: shares.Share
    study: tuple[str, str, str]
    """Source, study UID and recipient: for records and events, never for the reader."""


async def begin(
    unit: UnitOfWork, caller: Caller, share: UUID, how: How, part: str, *, images: int | None = None
) -> Reading | Problem:
    """Whether the caller may read; either way with its audit record, which `unit` has to commit.

    A problem is given back and not raised, so that the refusal is kept. What is `downloaded` says how many
    images, all where `images` is None.
    """
    facts = await shares.get(unit.connection, caller.scope, share)
    study = await shares.study_of(unit.connection, caller.scope, share)
    if facts is None or study is None:
        return not_found("share")
    found = await inbox.one(unit.connection, caller.scope, share)
    problem = _problem(caller, facts, found, disposed=await shares.disposed(unit.connection, share))
    counts = {}
    if problem is None and how == "downloaded":
        all_ = (await inbox.amount(unit.connection, caller.scope, share)).images
        counts = {"images": all_ if images is None else images}
    audit.record(
        unit,
        caller,
        _ACTIONS[how],
        source=study[0],
        study_uid=study[1],
        recipient=study[2],
        share=share,
        outcome="refused" if problem else "success",
        purpose=facts.purpose,
        legal_basis=facts.legal_basis,
        agreement=facts.agreement,
        reason=str(problem.detail) if problem else "",
        counts=counts,
        details={"part": part},
    )
    if problem is not None:
        return problem
    assert found is not None, "what may be read is there"
    if caller.institution == study[2]:
        report(unit, caller, share, study, how)
    return Reading(found, facts, study)


def _problem(
    caller: Caller, facts: shares.Share, found: InboxShare | None, *, disposed: bool
) -> Problem | None:
    if not caller.is_admin and caller.institution != facts.recipient:
        return forbidden(f"Only {facts.recipient}, to which it was shared, can read it here.")
    if words := _GONE.get(facts.state):
        why = facts.reason.removeprefix(f"{facts.state}: ")
        said = f"This share {words}, and nothing of it can be read any more"
        return Problem(410, f"{said}: {why}" if why else f"{said}.", title="Not to be read any more")
    if facts.state == "requested":
        words = f"{facts.recipient} has not accepted this share yet. Accept it first."
        return Problem(409, words, title="Not yet")
    if disposed:
        words = "Its images have been deleted, as they are kept for a limited time. Ask for the study again."
        return Problem(410, words, title="Not to be read any more")
    return None if found is not None else _not_there(facts.state)


def _not_there(state: ShareState) -> Problem:
    if state in _NOT_YET:
        words = "Nothing of it has come to the inbox yet. Its images are still on their way."
        return Problem(409, words, title="Not yet")
    return Problem(404, "It was not delivered to an inbox, and can be read only where it was delivered to.")


def report(unit: UnitOfWork, caller: Caller, share: UUID, study: tuple[str, str, str], how: How) -> None:
    """For partners, once for a caller, a way of reading, and a day in the UK: the id says so."""
    source, study_uid, recipient = study
    now = datetime.now(UTC)
    day = local_time(now).date().isoformat()
    unit.publish(
        ViewReported.of(
            id=derived("view", str(share), caller.kind, caller.id, how, day),
            subject=str(share),
            time=now,
            traceparent=root_traceparent(source, study_uid),
            data=ViewReportedData(
                source=source,
                study_uid=study_uid,
                share=share,
                recipient=recipient,
                how=how,
                actor=caller.name,
                actor_institution=recipient,
            ),
        )
    )


def broken_off(
    unit: UnitOfWork, caller: Caller, reading: Reading, part: str, *, images: int, reason: str
) -> None:
    """Keep that a download did not come to its end, and how much of it had left."""
    source, study_uid, recipient = reading.study
    audit.record(
        unit,
        caller,
        "instances_exported",
        source=source,
        study_uid=study_uid,
        recipient=recipient,
        share=reading.facts.id,
        outcome="failure",
        purpose=reading.facts.purpose,
        agreement=reading.facts.agreement,
        reason=reason,
        counts={"images": images},
        details={"part": part},
    )
