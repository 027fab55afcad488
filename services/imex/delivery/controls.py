"""What people ask of deliveries and destinations: retry, cancel, pause, resume, another endpoint."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, and_, case, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables.delivery import controls, deliveries, destinations, instances, queues, withheld
from imex.delivery import facts
from imex.delivery.decide import LIFETIME
from imex.delivery.destinations import ask_again, wake
from imex.delivery.jobs import job_of
from imex.delivery.refusals import forget
from imex.events.commands import (
    DeliveryCommanded,
    DeliveryCommandedData,
    DestinationCommanded,
    DestinationCommandedData,
)

_PAGE: Final = 1000
# what is in dispute, or was recalled, since it was sent or has failed does not leave again
_WAITS_AGAIN: Final = case(
    (
        exists().where(
            withheld.c.delivery == instances.c.delivery,
            withheld.c.sop_instance_uid == instances.c.sop_instance_uid,
            withheld.c.disputes,
            withheld.c.status == "held",
        ),
        "disputed",
    ),
    else_="waiting",
)


async def steer(unit: UnitOfWork, event: DeliveryCommanded, row: Row[Any]) -> None:
    """Do to a delivery, whose row is locked, what was asked for; all but giving it up."""
    data = event.data
    if row.withdrawn:
        return
    told = row
    match data.command:
        case "retry":
            await _retry(unit, row)
        case "pause" if row.state != "ended" and row.paused is None:
            await _set(unit, row, **_paused(event.id, data))
        case "resume" if row.paused is not None:
            goes_on = {"next_attempt_at": func.now()} if row.state == "waiting" else {}
            await _set(unit, row, **_NOT_PAUSED, **goes_on)
        case "reroute" if data.endpoint is not None and data.endpoint != row.endpoint:
            told = await _reroute(unit, row, data.endpoint)
        case _:
            return  # it is so already
    before = row.endpoint if data.command == "reroute" else None
    # one that runs goes there once it has stopped
    job = replace(job_of(told), endpoint=data.endpoint if before and data.endpoint else told.endpoint)
    await note(unit, event.id, data, row.recipient, job.endpoint, delivery=row.id, before=before)
    unit.publish(facts.steered(job, data, cause=event.id, at=event.time, before=before))


async def steer_destination(unit: UnitOfWork, event: DestinationCommanded) -> None:
    """Leave a whole destination alone, let everything go on, or ask it again at once."""
    data = event.data
    there = and_(destinations.c.recipient == data.recipient, destinations.c.endpoint == data.endpoint)
    await unit.connection.execute(
        insert(destinations).values(recipient=data.recipient, endpoint=data.endpoint).on_conflict_do_nothing()
    )
    paused = await unit.connection.scalar(select(destinations.c.paused).where(there).with_for_update())
    match data.command:
        case "pause" if paused is None:
            values = {**_paused(event.id, data), "paused_at": event.time}
        case "resume" if paused is not None:
            values = {**_NOT_PAUSED, "paused_at": None}
        case "retry":
            values = {}
            await forget(unit, data.recipient, data.endpoint)
            await ask_again(unit, data.recipient, data.endpoint)
            await wake(unit, data.recipient, data.endpoint)
        case _:
            return
    if values:
        await unit.connection.execute(update(destinations).where(there).values(values))
    await note(unit, event.id, data, data.recipient, data.endpoint)
    if values:
        await _tell_all(unit, event)


async def tell_waiting(unit: UnitOfWork, about: Collection[UUID]) -> None:
    """Tell of deliveries that came to a destination while it is paused: once each, however often told."""
    d, p = deliveries.c, destinations.c
    there = and_(p.recipient == d.recipient, p.endpoint == d.endpoint, p.paused.is_not(None))
    rows = await unit.connection.execute(
        select(deliveries, p.paused_by.label("by"), p.paused_institution.label("of"), p.paused.label("cause"))
        .add_columns(p.paused_reason.label("why"))
        .join(destinations, there)
        .where(d.id.in_(about), d.state != "ended")
    )
    for row in rows:
        data = DestinationCommandedData(
            command="pause",
            recipient=row.recipient,
            endpoint=row.endpoint,
            reason=row.why,
            actor=row.by,
            actor_institution=row.of,
        )
        unit.publish(facts.steered(job_of(row), data, cause=row.cause, at=row.created_at))


async def _tell_all(unit: UnitOfWork, event: DestinationCommanded) -> None:
    """Tell of every delivery there that has not ended, a page at a time: there may be very many."""
    data, d = event.data, deliveries.c
    there = and_(d.recipient == data.recipient, d.endpoint == data.endpoint, d.state != "ended")
    after = UUID(int=0)
    while True:
        page = select(deliveries).where(there, d.id > after).order_by(d.id).limit(_PAGE)
        rows = (await unit.connection.execute(page)).all()
        for row in rows:
            unit.publish(facts.steered(job_of(row), data, cause=event.id, at=event.time))
        await unit.flush()
        if len(rows) < _PAGE:
            return
        after = rows[-1].id


async def _retry(unit: UnitOfWork, row: Row[Any]) -> None:
    """Try now, failed instances and an ended delivery too; what routing has withdrawn stays ended."""
    await try_failed_again(unit, row.id)
    await know(unit, row.recipient, row.endpoint, row.source)
    await forget(unit, row.recipient, row.endpoint)
    await ask_again(unit, row.recipient, row.endpoint)
    values: dict[str, Any] = {
        "failures": 0,
        "failing_since": None,
        "cancelled": False,
        "only_to_settle": False,
        "expires_at": func.now() + LIFETIME,
    }
    if row.state != "running":
        values |= {"state": "waiting", "outcome": None, "next_attempt_at": func.now()}
    await _set(unit, row, **values)


async def _reroute(unit: UnitOfWork, row: Row[Any], endpoint: str) -> Row[Any]:
    """To another endpoint of the same recipient: at once, or when the attempt that runs has stopped."""
    if row.state == "running":
        await _set(unit, row, reroute_to=endpoint)
    else:
        await move(unit, row, endpoint)
        if row.state == "ended":
            moved = await _again(unit, row)
            await _retry(unit, moved)
    return await _again(unit, row)


async def move(unit: UnitOfWork, row: Row[Any], endpoint: str) -> None:
    """What is confirmed stays so and says where it went; the rest goes to `endpoint`, as if never tried."""
    await unit.connection.execute(
        update(instances)
        .where(
            instances.c.delivery == row.id, instances.c.state == "confirmed", instances.c.sent_to.is_(None)
        )
        .values(sent_to={"endpoint": row.endpoint, "ae_title": row.ae_title})
    )
    await unit.connection.execute(
        update(instances)
        .where(instances.c.delivery == row.id, instances.c.state.in_(("waiting", "sent")))
        .values(state=_WAITS_AGAIN, attempts=0, reason="", status=None, lacked=0, confirmation=None)
    )
    failed = await try_failed_again(unit, row.id)
    await know(unit, row.recipient, endpoint, row.source)
    values: dict[str, Any] = {
        "endpoint": endpoint,
        "ae_title": "",
        "reroute_to": None,
        "failures": 0,
        "failing_since": None,
    }
    if failed and row.state in {"waiting", "idle"}:
        values |= {"state": "waiting", "only_to_settle": False}
    if row.state == "waiting" or (failed and row.state == "idle"):
        values["next_attempt_at"] = func.now()
    await _set(unit, row, **values)


async def try_failed_again(unit: UnitOfWork, delivery: UUID) -> int:
    """What of it has failed waits to be sent as if never tried; how many instances that are.

    A receipt that says failed gets a successor.
    """
    again = await unit.connection.execute(
        update(instances)
        .where(instances.c.delivery == delivery, instances.c.state == "failed")
        .values(state=_WAITS_AGAIN, reason="", status=None, attempts=0, lacked=0, confirmation=None)
    )
    if again.rowcount:
        await unit.connection.execute(
            update(deliveries).where(deliveries.c.id == delivery).values(receipt_due=True)
        )
    return again.rowcount


async def know(unit: UnitOfWork, recipient: str, endpoint: str, source: str) -> None:
    """A sender has something for a destination: it is looked at, and the sender is served in turn."""
    there = {"recipient": recipient, "endpoint": endpoint}
    for table, values in ((destinations, there), (queues, {**there, "source": source})):
        await unit.connection.execute(insert(table).values(**values).on_conflict_do_nothing())


async def note(
    unit: UnitOfWork,
    command: UUID,
    data: DeliveryCommandedData | DestinationCommandedData,
    recipient: str,
    endpoint: str,
    *,
    delivery: UUID | None = None,
    before: str | None = None,
) -> None:
    """Keep what was asked and done."""
    await unit.connection.execute(
        insert(controls)
        .values(
            id=command,
            delivery=delivery,
            recipient=recipient,
            endpoint=endpoint,
            command=data.command,
            actor=data.actor,
            institution=data.actor_institution,
            reason=data.reason,
            details={"from": before} if before else {},
        )
        .on_conflict_do_nothing()
    )


async def _again(unit: UnitOfWork, row: Row[Any]) -> Row[Any]:
    return (await unit.connection.execute(select(deliveries).where(deliveries.c.id == row.id))).one()


async def _set(unit: UnitOfWork, row: Row[Any], **values: Any) -> None:
    await unit.connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(values))


def _paused(cause: UUID, data: DeliveryCommandedData | DestinationCommandedData) -> dict[str, Any]:
    return {
        "paused": cause,
        "paused_by": data.actor,
        "paused_institution": data.actor_institution,
        "paused_reason": data.reason,
    }


_NOT_PAUSED: dict[str, Any] = {
    "paused": None,
    "paused_by": "",
    "paused_institution": None,
    "paused_reason": "",
}
