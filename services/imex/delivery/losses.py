"""Records that could not be handled: a delivery whose manifest lacks a part says so, and does not wait.

What else of it comes is sent. When the record is replayed, the manifest is whole, and the delivery goes on to
its receipt as if nothing had happened.
"""

import logging
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, func, select, update

from imex.db import UnitOfWork
from imex.db.tables.delivery import deliveries, instances
from imex.delivery import facts
from imex.delivery.jobs import job_of
from imex.delivery.manifests import NO_PART, issue
from imex.events import LANES, UndecodableEvent, decode, ids
from imex.events.manifests import DeliveryPayload, ManifestIssued, ManifestIssuedData
from imex.runtime.message import RawRecord

log = logging.getLogger(__name__)

_TOPICS: Final = tuple(f"manifests.{lane}" for lane in LANES)


async def mark_lost(raw: RawRecord, reason: str, unit: UnitOfWork | None) -> None:
    """The runtime's dead-letter hook."""
    if unit is None or raw.topic not in _TOPICS:
        return
    why = f"a part of its manifest could not be handled (see the dead letters): {reason}"[: facts.MAX_REASON]
    about = _about(raw)
    if about is None:
        return
    which, issued = about
    if issued is not None:  # it may be the first that is heard of the delivery
        await issue(unit, [issued.model_copy(update={"part": NO_PART, "instances": ()})])
    rows = await unit.connection.execute(
        select(deliveries)
        .where(which, deliveries.c.state != "ended")
        .order_by(deliveries.c.id)
        .with_for_update()
    )
    for row in rows.all():
        await _mark(unit, row, why, raw)


def _about(raw: RawRecord) -> tuple[ColumnElement[bool], ManifestIssuedData | None] | None:
    """Which deliveries: the record's, or all of its study, where only the key can be read."""
    try:
        event = decode(raw.value or b"", raw.header("ce_type"))
    except UndecodableEvent:
        source, slash, study_uid = (raw.key or b"").decode(errors="replace").partition("/")
        if not slash:
            return None
        return and_(deliveries.c.source == source, deliveries.c.study_uid == study_uid), None
    if not isinstance(event.data, DeliveryPayload):
        return None
    issued = event.data if isinstance(event, ManifestIssued) else None
    return deliveries.c.id == event.data.delivery, issued


async def _mark(unit: UnitOfWork, row: Row[Any], why: str, raw: RawRecord) -> None:
    """An idle delivery ends here; another one by its worker, when all else of it is sent."""
    ends_here = row.state == "idle"
    values: dict[str, Any] = {"lost": why}
    if ends_here:
        values |= {"state": "ended", "outcome": "failed", "reason": why, "next_attempt_at": None}
    await unit.connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(values))
    if not ends_here:
        return
    confirmed = await unit.connection.scalar(
        select(func.count()).where(instances.c.delivery == row.id, instances.c.state == "confirmed")
    )
    cause = ids.derived("lost", raw.topic, str(raw.partition), str(raw.offset))
    unit.publish(
        facts.ended(job_of(row), outcome="failed", confirmed=confirmed or 0, reason=why, cause=cause)
    )
