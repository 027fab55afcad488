"""What delivery says of rejection notes that go in deliveries of their own."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables.routing import corrected_shares, corrections, note_deliveries
from imex.events import ids
from imex.events.deliveries import (
    DeliveryAttempted,
    DeliveryCompleted,
    DeliveryEnded,
    DeliveryProgressed,
    DeliverySteered,
)
from imex.routing import publish
from imex.routing.docket import DELIVERY, Docket
from imex.routing.publish import Cause


class NoteDelivery(NamedTuple):
    """A delivery that carries a note alone."""

    delivery: UUID
    correction: UUID
    share: UUID


DeliveryFact = DeliveryAttempted | DeliveryProgressed | DeliveryCompleted | DeliveryEnded | DeliverySteered


async def of_notes(
    unit: UnitOfWork, docket: Docket, facts: Sequence[DeliveryFact]
) -> dict[UUID, NoteDelivery]:
    """The deliveries among these that carry a note alone, with their rows."""
    strange = {fact.data.delivery for fact in facts if not _is_own(docket, fact)}
    if not strange:
        return {}
    k, n = corrected_shares.c, note_deliveries.c
    rows = await unit.connection.execute(
        select(n.delivery, n.correction, n.share)
        .where(n.delivery.in_(strange))
        .union(select(k.delivery, k.correction, k.share).where(k.delivery.in_(strange)))
    )
    return {row.delivery: NoteDelivery(*row) for row in rows}


def _is_own(docket: Docket, fact: DeliveryFact) -> bool:
    """Whether it is plainly the share's own delivery, as nearly all are."""
    share = docket.get(fact.data.share)
    return share is not None and fact.data.delivery == ids.delivery_id(share.id, share.endpoint or "")


async def take_note(
    unit: UnitOfWork, docket: Docket, notes: dict[UUID, NoteDelivery], facts: Iterable[DeliveryFact]
) -> None:
    """Write how far the notes have come; a confirmed one stays so.

    A share whose images went to several endpoints has been notified when all of them have the note.
    """
    n = corrections.c
    found = await unit.connection.execute(
        select(n.id, n.kind).where(n.id.in_({row.correction for row in notes.values()}))
    )
    kinds = {one.id: one.kind for one in found}
    for fact in facts:
        row = notes[fact.data.delivery]
        state, reason = said(fact)
        if state is None:
            continue
        if not await _put(unit, row, state, reason):
            continue
        c = corrected_shares.c
        state, reason = await _come_to(unit, row)
        values: dict[str, Any] = {"state": state, "reason": reason}
        recall = kinds.get(row.correction, "recall") == "recall"
        if state == "notified":
            values["notified_at"] = fact.time
            if not recall:
                # a system has taken it over: nobody need say so
                values |= {
                    "acknowledged_at": func.coalesce(c.acknowledged_at, fact.time),
                    "acknowledged_by": func.coalesce(c.acknowledged_by, f"{fact.data.recipient} (HL7)"),
                }
        changed = await unit.connection.execute(
            update(corrected_shares)
            .where(c.correction == row.correction, c.share == row.share, c.state != "notified")
            .values(values)
        )
        share = docket.get(row.share)
        if share is not None and changed.rowcount and state != "notifying":
            cause = Cause(fact.id, fact.time, publish.service(DELIVERY))
            what = "recall" if recall else "correction"
            step = f"{what}_notified" if state == "notified" else f"{what}_unreached"
            docket.note(share, step, cause, reason=reason)
            if state == "notified" and not recall:
                told = {"correction": row.correction}
                docket.note(share, "correction_acknowledged", cause, reason="by HL7")
                docket.announce(share, "correction_acknowledged", cause, told)


async def _put(unit: UnitOfWork, row: NoteDelivery, state: str, reason: str) -> bool:
    """Whether it is news of that delivery."""
    n = note_deliveries.c
    names = {"delivery": row.delivery, "correction": row.correction, "share": row.share}
    await unit.connection.execute(insert(note_deliveries).values(names).on_conflict_do_nothing())
    changed = await unit.connection.execute(
        update(note_deliveries)
        .where(n.delivery == row.delivery, n.state != "notified")
        .values(state=state, reason=reason)
    )
    return changed.rowcount == 1


async def _come_to(unit: UnitOfWork, row: NoteDelivery) -> tuple[str, str]:
    """What the deliveries of one note to one recipient have come to together, and why no further."""
    n = note_deliveries.c
    found = await unit.connection.execute(
        select(n.state, n.reason).where(n.correction == row.correction, n.share == row.share)
    )
    reasons: dict[str, str] = {}
    for one in found:
        reasons[one.state] = reasons.get(one.state) or one.reason
    return next((state, reasons[state]) for state in _LEAST_FIRST if state in reasons)


_LEAST_FIRST = ("notifying", "unreached", "notified")


def said(fact: DeliveryFact) -> tuple[str | None, str]:
    """How far the note has come by a fact, and why no further; None where it says nothing new. Pure."""
    match fact:
        case DeliveryProgressed(data=data):
            if any(one.state == "confirmed" for one in data.outcomes):
                return "notified", ""
            failed = next((one.reason for one in data.outcomes if one.state == "failed"), None)
            return (None, "") if failed is None else ("unreached", failed)
        case DeliveryCompleted(data=data):
            return ("notified", "") if data.confirmed else (None, "")
        case DeliveryAttempted(data=data):
            return ("notifying", data.reason) if data.reason and not data.confirmed else (None, "")
        case DeliveryEnded(data=data):
            return "unreached", data.reason
        case _:
            return None, ""
