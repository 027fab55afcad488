"""The questions that senders have asked, kept over restarts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables.portal import commitments
from imex.dicom.commitment import FailureReason, Reference, Request
from imex.events import ids
from imex.portal.commitment.decide import COMMITTED, Verdict
from imex.portal.commitment.settings import Bounds

_LEASE: Final = timedelta(minutes=3)
_UNREPORTED: Final = ("open", "decided")


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: a sender of an institution, and as whom it called Imex."""

    institution: str
    ae_title: str
    called_ae: str


@dataclass(frozen=True, slots=True)
class Question:
    """One that is to be looked at now, and the verdicts once it is decided."""

    id: UUID
    asker: Asker
    transaction_uid: str
    references: tuple[Reference, ...]
    asked_at: datetime
    due_at: datetime
    decided_at: datetime | None
    attempts: int
    verdicts: tuple[Verdict, ...] | None


class Taken(Enum):
    """What became of a question that was asked."""

    NEW = "new"
    AGAIN = "again"
    TOO_MANY = "too many"
    ANOTHER = "another"
    """The Transaction UID is of a question about other instances."""


def question_id(institution: str, transaction_uid: str) -> UUID:
    """One transaction of an institution is one question."""
    return ids.derived("sender's commitment", institution, transaction_uid)


async def take(
    unit: UnitOfWork,
    asker: Asker,
    request: Request,
    bounds: Bounds,
    now: datetime,
    *,
    patience: timedelta,
) -> tuple[Taken, UUID]:
    """Keep a question, to be looked at after `patience`. One that was answered is to be told again."""
    c = commitments.c
    identifier = question_id(asker.institution, request.transaction_uid)
    wanted = [[one.sop_class_uid, one.sop_instance_uid] for one in request.references]
    # whoever counts waits for whoever adds
    lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
    await unit.connection.execute(lock, {"name": f"commitments of {asker.institution}"})
    known = (
        await unit.connection.execute(select(c.instances, c.state).where(c.id == identifier))
    ).one_or_none()
    if known is not None:
        if known.instances != wanted:
            return Taken.ANOTHER, identifier
        again: dict[str, Any] = {"asked_at": now}  # what came in since is read before a yes is said
        if known.state not in _UNREPORTED:
            again |= {
                "state": "decided",
                "reason": "",
                "attempts": 0,
                "decided_at": now,
                "reported_at": None,
                "next_at": now + patience,
                "ae_title": asker.ae_title,
                "called_ae": asker.called_ae,
            }
        await unit.connection.execute(update(commitments).where(c.id == identifier).values(again))
        return Taken.AGAIN, identifier
    waiting = select(func.count()).where(c.institution == asker.institution, c.state.in_(_UNREPORTED))
    if (await unit.connection.scalar(waiting) or 0) >= bounds.open_questions:
        return Taken.TOO_MANY, identifier
    await unit.connection.execute(
        insert(commitments).values(
            id=identifier,
            institution=asker.institution,
            transaction_uid=request.transaction_uid,
            ae_title=asker.ae_title,
            called_ae=asker.called_ae,
            instances=wanted,
            asked_at=now,
            due_at=now + bounds.deadline,
            next_at=now + patience,
        )
    )
    return Taken.NEW, identifier


async def claim(unit: UnitOfWork, holder: str, limit: int, now: datetime) -> list[Question]:
    """Questions that are due, for `holder` alone until it lets go of them."""
    return await _claim(unit, holder, [commitments.c.next_at <= now], limit)


async def claim_one(unit: UnitOfWork, holder: str, question: UUID) -> Question | None:
    """One question, due or not; None where another holds it or it has been answered."""
    found = await _claim(
        unit, holder, [commitments.c.id == question, commitments.c.state.in_(_UNREPORTED)], 1
    )
    return found[0] if found else None


async def _claim(unit: UnitOfWork, holder: str, which: Sequence[Any], limit: int) -> list[Question]:
    c = commitments.c
    rows = await unit.connection.execute(
        select(commitments)
        .where(*which, or_(c.lease_until.is_(None), c.lease_until < func.now()))
        .order_by(c.next_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = [_question(row) for row in rows]
    if found:
        await unit.connection.execute(
            update(commitments)
            .where(c.id.in_([one.id for one in found]))
            .values(leased_by=holder, lease_until=func.now() + _LEASE)
        )
    return found


async def keep(unit: UnitOfWork, holder: str, question: UUID, **values: Any) -> bool:
    """Write what is known of a claimed question, and hold on to it; false where another has it by now."""
    c = commitments.c
    done = await unit.connection.execute(
        update(commitments)
        .where(c.id == question, c.leased_by == holder)
        .values(**values, lease_until=func.now() + _LEASE)
    )
    return done.rowcount == 1


async def put(unit: UnitOfWork, holder: str, question: UUID, **values: Any) -> bool:
    """Write what became of a claimed question, and let go of it; false where another has it by now."""
    c = commitments.c
    done = await unit.connection.execute(
        update(commitments)
        .where(c.id == question, c.leased_by == holder)
        .values(**values, leased_by=None, lease_until=None)
    )
    return done.rowcount == 1


async def hasten(unit: UnitOfWork, question: UUID, now: datetime) -> None:
    """Have a question that nobody holds, and that was to be left alone for a while, looked at now."""
    c = commitments.c
    await unit.connection.execute(
        update(commitments)
        .where(c.id == question, c.next_at > now, c.leased_by.is_(None))
        .values(next_at=now)
    )


async def forget(unit: UnitOfWork, before: datetime) -> int:
    """Questions that were answered or given up, and asked before then; how many there were."""
    c = commitments.c
    gone = await unit.connection.execute(
        delete(commitments).where(c.asked_at < before, c.state.not_in(_UNREPORTED))
    )
    return gone.rowcount


async def let_go(unit: UnitOfWork, holder: str) -> None:
    """Of all that `holder` has: it stops."""
    c = commitments.c
    await unit.connection.execute(
        update(commitments).where(c.leased_by == holder).values(leased_by=None, lease_until=None)
    )


def refused_of(verdicts: Sequence[Verdict]) -> list[list[Any]]:
    """How verdicts are kept: those that are no, by their position."""
    return [
        [number, int(one.reason or FailureReason.PROCESSING_FAILURE), one.words]
        for number, one in enumerate(verdicts)
        if not one.committed
    ]


def verdicts_of(refused: Sequence[Sequence[Any]], number: int) -> tuple[Verdict, ...]:
    """The verdicts on `number` instances out of what is kept."""
    verdicts = [COMMITTED] * number
    for position, reason, words in refused:
        verdicts[position] = Verdict(reason=FailureReason(reason), words=words)
    return tuple(verdicts)


def _question(row: Any) -> Question:
    references = tuple(Reference(*pair) for pair in row.instances)
    return Question(
        id=row.id,
        asker=Asker(row.institution, row.ae_title, row.called_ae),
        transaction_uid=row.transaction_uid,
        references=references,
        asked_at=row.asked_at,
        due_at=row.due_at,
        decided_at=row.decided_at,
        attempts=row.attempts,
        verdicts=None if row.refused is None else verdicts_of(row.refused, len(references)),
    )
