"""Kafka to rows: manifests and commands become deliveries. Nothing is sent from here."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables.delivery import deliveries, instances, parts, withheld
from imex.delivery import facts
from imex.delivery.decide import LIFETIME
from imex.delivery.jobs import job_of
from imex.delivery.wake import Bell
from imex.events import Event
from imex.events.commands import DeliveryCommanded
from imex.events.manifests import (
    ManifestAnnotated,
    ManifestAnnotatedData,
    ManifestClosed,
    ManifestClosedData,
    ManifestInstance,
    ManifestIssued,
    ManifestIssuedData,
    ManifestWithdrawn,
    ManifestWithdrawnData,
)
from imex.runtime.message import Handler, Message


def handler(bell: Bell) -> Handler:
    """The consumers' handler, which wakes the worker of this process."""

    async def handle(messages: Sequence[Message], unit: UnitOfWork) -> None:
        await apply([message.event for message in messages], unit)
        bell.ring_soon()

    return handle


async def apply(events: Sequence[Event[Any]], unit: UnitOfWork) -> None:
    """Apply manifests and commands in their order; what is not for delivery is passed over."""
    about = {event.data.delivery for event in events if _is_ours(event)}
    if not about:
        return
    # locked in one order, so that two batches that overlap wait for each other in one direction only
    await unit.connection.execute(
        select(deliveries.c.id).where(deliveries.c.id.in_(about)).order_by(deliveries.c.id).with_for_update()
    )
    for event in events:
        await _apply(unit, event)


_OURS = ManifestIssued | ManifestAnnotated | ManifestClosed | ManifestWithdrawn | DeliveryCommanded


def _is_ours(event: Event[Any]) -> bool:
    return isinstance(event, _OURS)


async def _apply(unit: UnitOfWork, event: Event[Any]) -> None:
    match event:
        case ManifestIssued():
            await _issue(unit, event.data)
        case ManifestAnnotated():
            await _withhold(unit, event.data)
        case ManifestClosed():
            await _close(unit, event.data)
        case ManifestWithdrawn():
            await _withdraw(unit, event.data, event.id)
        case DeliveryCommanded():
            await _command(unit, event)
        case _:
            return  # commands to other services share the topic


async def _issue(unit: UnitOfWork, data: ManifestIssuedData) -> None:
    await unit.connection.execute(
        insert(deliveries)
        .values(
            id=data.delivery,
            share=data.share,
            source=data.source,
            study_uid=data.study_uid,
            recipient=data.recipient,
            endpoint=data.endpoint,
            lane=data.lane,
            priority=data.priority,
            directory_version=data.directory_version,
            state="idle",
            expires_at=datetime.now(UTC) + LIFETIME,
        )
        .on_conflict_do_nothing()
    )
    made = insert(parts).values(delivery=data.delivery, part=data.part)
    await unit.connection.execute(made.on_conflict_do_nothing())
    await _insert_instances(unit, data)
    await unit.connection.execute(
        update(deliveries)
        .where(deliveries.c.id == data.delivery)
        .values(
            priority=data.priority,
            directory_version=data.directory_version,
            # a part beyond those that closed it opens the manifest again, until it is closed anew
            parts=case((deliveries.c.parts < data.part, None), else_=deliveries.c.parts),
        )
    )
    await _make_due(unit, data.delivery)


async def _insert_instances(unit: UnitOfWork, data: ManifestIssuedData) -> None:
    if not data.instances:
        return
    # one statement must not name a row twice
    by_uid = {one.sop_instance_uid: one for one in data.instances}
    new = insert(instances).values([_values(data, one) for one in by_uid.values()])
    fresh = new.excluded
    # what a destination has confirmed stays what was delivered
    await unit.connection.execute(
        new.on_conflict_do_update(
            index_elements=["delivery", "sop_instance_uid"],
            set_={
                "part": fresh.part,
                "sop_class_uid": fresh.sop_class_uid,
                "transfer_syntax": fresh.transfer_syntax,
                "object_key": fresh.object_key,
                "size": fresh.size,
                "digest": fresh.digest,
                "state": "waiting",
                "status": None,
                "reason": "",
                "attempts": 0,
            },
            where=(instances.c.digest != fresh.digest) & (instances.c.state != "confirmed"),
        )
    )


def _values(data: ManifestIssuedData, one: ManifestInstance) -> dict[str, Any]:
    return {
        "delivery": data.delivery,
        "sop_instance_uid": one.sop_instance_uid,
        "part": data.part,
        "sop_class_uid": one.sop_class_uid,
        "transfer_syntax": one.transfer_syntax,
        "object_key": one.object_key,
        "size": one.size,
        "digest": one.digest,
    }


async def _withhold(unit: UnitOfWork, data: ManifestAnnotatedData) -> None:
    """Keep what the receipt has to name beside the manifest."""
    released = [one.quarantine for one in data.instances if one.became == "released"]
    rows = [
        {"delivery": data.delivery, "status": one.became, **one.model_dump(exclude={"became"})}
        for one in data.instances
        if one.became != "released"
    ]
    await unit.connection.execute(
        delete(withheld).where(withheld.c.delivery == data.delivery, withheld.c.quarantine.in_(released))
    )
    if rows:
        new = insert(withheld).values(rows)
        changed = {name: new.excluded[name] for name in ("status", "reason", "at")}
        await unit.connection.execute(
            new.on_conflict_do_update(index_elements=["delivery", "quarantine"], set_=changed)
        )


async def _close(unit: UnitOfWork, data: ManifestClosedData) -> None:
    await unit.connection.execute(
        update(deliveries)
        .where(deliveries.c.id == data.delivery, deliveries.c.revision < data.revision)
        .values(parts=data.parts, expected=data.instances, revision=data.revision, receipt_due=True)
    )
    await _make_due(unit, data.delivery)


async def _make_due(unit: UnitOfWork, delivery: UUID) -> None:
    """Something new to do: now, unless it runs, is withdrawn, or waits for a destination that fails."""
    backing_off = (deliveries.c.state == "waiting") & (deliveries.c.failures > 0)
    ended = deliveries.c.state == "ended"
    await unit.connection.execute(
        update(deliveries)
        .where(
            deliveries.c.id == delivery,
            deliveries.c.withdrawn.is_(False),
            deliveries.c.cancelled.is_(False),
            deliveries.c.state != "running",
        )
        .values(
            state="waiting",
            outcome=None,
            next_attempt_at=case((backing_off, deliveries.c.next_attempt_at), else_=func.now()),
            expires_at=case((ended, func.now() + LIFETIME), else_=deliveries.c.expires_at),
        )
    )


async def _withdraw(unit: UnitOfWork, data: ManifestWithdrawnData, cause: UUID) -> None:
    row = await _locked(unit, data.delivery)
    if row is not None and not row.withdrawn:
        await _stop(unit, row, {"withdrawn": True}, data.reason, cause)


async def _stop(unit: UnitOfWork, row: Row[Any], flag: dict[str, Any], reason: str, cause: UUID) -> None:
    """Nothing more may leave: a delivery that runs is stopped by its worker, another one ends here."""
    ends_here = row.state in {"waiting", "idle"}
    values = {**flag, "reason": reason}
    if ends_here:
        values |= {"state": "ended", "outcome": "cancelled", "next_attempt_at": None}
    await unit.connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(values))
    if not ends_here:
        return
    confirmed = await unit.connection.scalar(
        select(func.count()).where(instances.c.delivery == row.id, instances.c.state == "confirmed")
    )
    unit.publish(
        facts.ended(job_of(row), outcome="cancelled", confirmed=confirmed or 0, reason=reason, cause=cause)
    )


async def _command(unit: UnitOfWork, event: DeliveryCommanded) -> None:
    data = event.data
    row = await _locked(unit, data.delivery)
    # a command is authorised for the study it names
    if row is None or row.source != data.source or row.study_uid != data.study_uid:
        return
    match data.command:
        case "cancel":
            if row.state != "ended":
                reason = data.reason or "cancelled by a person"
                await _stop(unit, row, {"cancelled": True}, reason, event.id)
        case "retry":
            await _retry(unit, row)


async def _retry(unit: UnitOfWork, row: Row[Any]) -> None:
    """Try now, failed instances and an ended delivery too; what routing has withdrawn stays ended."""
    if row.withdrawn:
        return
    again = await unit.connection.execute(
        update(instances)
        .where(instances.c.delivery == row.id, instances.c.state == "failed")
        .values(state="waiting", reason="", status=None, attempts=0)
    )
    values: dict[str, Any] = {
        "failures": 0,
        "failing_since": None,
        "cancelled": False,
        "expires_at": func.now() + LIFETIME,
    }
    if again.rowcount:  # a receipt that says failed gets a successor
        values["receipt_due"] = True
    if row.state != "running":
        values |= {"state": "waiting", "outcome": None, "next_attempt_at": func.now()}
    await unit.connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(values))


async def _locked(unit: UnitOfWork, delivery: UUID) -> Row[Any] | None:
    found = await unit.connection.execute(
        select(deliveries).where(deliveries.c.id == delivery).with_for_update()
    )
    return found.first()
