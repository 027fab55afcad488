"""Kafka to rows: manifests and commands become deliveries. Nothing is sent from here."""

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import Row, and_, case, delete, exists, func, not_, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables.delivery import deliveries, instances, withheld
from imex.db.tables.delivery import destinations as destinations_table
from imex.delivery import facts
from imex.delivery.controls import note, steer, steer_destination, tell_waiting
from imex.delivery.decide import LIFETIME
from imex.delivery.endpoint_tests.rows import ask
from imex.delivery.identifiers import obey
from imex.delivery.jobs import Instance, job_of
from imex.delivery.manifests import issue
from imex.delivery.retrieving.orders import Order
from imex.delivery.retrieving.orders import obey as obey_order
from imex.delivery.subjects import obey as obey_subject
from imex.delivery.wake import Arrivals
from imex.events import Event
from imex.events.commands import (
    DeliveryCommanded,
    DestinationCommanded,
    EndpointCommanded,
    IdentifierCommanded,
    SubjectCommanded,
)
from imex.events.manifests import (
    ManifestAnnotated,
    ManifestAnnotatedData,
    ManifestClosed,
    ManifestClosedData,
    ManifestIssued,
    ManifestPrioritised,
    ManifestWithdrawn,
    ManifestWithdrawnData,
)
from imex.runtime.message import Handler, Message
from imex.sealing import Sealer


def handler(arrivals: Arrivals, sealer: Sealer) -> Handler:
    """The consumers' handler, which tells the attempts and the worker of this process what has come.

    What commands hold sealed is opened with `sealer`.
    """

    async def handle(messages: Sequence[Message], unit: UnitOfWork) -> None:
        events = [message.event for message in messages]
        for event in events:
            if isinstance(event, IdentifierCommanded):
                await obey(unit, event, sealer)
            elif isinstance(event, SubjectCommanded):
                await obey_subject(unit, event, sealer)
            elif isinstance(event, EndpointCommanded):
                await ask(unit, event)
            elif isinstance(event, Order):
                await obey_order(unit, event)
        await apply(events, unit, arrivals)

    return handle


async def apply(events: Sequence[Event[Any]], unit: UnitOfWork, arrivals: Arrivals) -> None:
    """Apply manifests and commands in their order; what is not for delivery is passed over."""
    about = {event.data.delivery for event in events if _is_ours(event)}
    destinations = [event for event in events if isinstance(event, DestinationCommanded)]
    if not about and not destinations:
        return
    listed: dict[UUID, list[Instance]] = {delivery: [] for delivery in about}
    changed = {
        event.data.delivery for event in events if _is_ours(event) and not isinstance(event, ManifestIssued)
    }
    unit.after_commit(lambda: arrivals.committed(listed, changed))
    if not all(isinstance(event, ManifestIssued) for event in events):
        await _lock(unit, events, about)
    for command in destinations:
        await steer_destination(unit, command)
        unit.after_commit(arrivals.ring)
    for issued, group in groupby(events, lambda event: isinstance(event, ManifestIssued)):
        if issued:
            new = await issue(unit, [event.data for event in group])
            await tell_waiting(unit, new)
            for delivery, instances in new.items():
                listed[delivery] += instances
        else:
            for event in group:
                await _apply(unit, event)


async def _lock(unit: UnitOfWork, events: Sequence[Event[Any]], about: Collection[UUID]) -> None:
    """Lock what commands change: deliveries first and destinations after them, each in one order.

    So do attempts that end. Two transactions that overlap wait for each other in one direction only.
    """
    d, p = deliveries.c, destinations_table.c
    rows = await unit.connection.execute(
        select(d.id, d.recipient, d.endpoint).where(d.id.in_(about)).order_by(d.id).with_for_update()
    )
    found = {row.id: row for row in rows}
    places: set[tuple[str, str]] = set()
    for event in events:
        if isinstance(event, DestinationCommanded):
            places.add((event.data.recipient, event.data.endpoint))
        elif isinstance(event, DeliveryCommanded) and (row := found.get(event.data.delivery)) is not None:
            places |= {(row.recipient, row.endpoint), (row.recipient, event.data.endpoint or row.endpoint)}
    if places:
        await unit.connection.execute(
            select(p.recipient)
            .where(tuple_(p.recipient, p.endpoint).in_(sorted(places)))
            .order_by(p.recipient, p.endpoint)
            .with_for_update()
        )


_OURS = (
    ManifestIssued
    | ManifestAnnotated
    | ManifestClosed
    | ManifestWithdrawn
    | ManifestPrioritised
    | DeliveryCommanded
)


def _is_ours(event: Event[Any]) -> bool:
    return isinstance(event, _OURS)


async def _apply(unit: UnitOfWork, event: Event[Any]) -> None:
    match event:
        case ManifestAnnotated():
            await _withhold(unit, event.data)
        case ManifestClosed():
            await _close(unit, event.data)
        case ManifestWithdrawn():
            await _withdraw(unit, event.data, event.id)
        case ManifestPrioritised():
            await unit.connection.execute(
                update(deliveries)
                .where(deliveries.c.id == event.data.delivery)
                .values(priority=event.data.priority)
            )
        case DeliveryCommanded():
            await _command(unit, event)
        case _:
            return  # commands to other services share the topic


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
    await _dispute(unit, data)


async def _dispute(unit: UnitOfWork, data: ManifestAnnotatedData) -> None:
    """Send no copy that is in dispute, and send again what is so no more; what was sent stays sent."""
    disputes = [one for one in data.instances if one.disputes]
    if not disputes:
        return
    held = {one.sop_instance_uid for one in disputes if one.became == "held"}
    over = {one.sop_instance_uid for one in disputes} - held
    if over:
        await unit.connection.execute(
            update(deliveries).where(deliveries.c.id == data.delivery).values(only_to_settle=False)
        )
    for uids, before, after in ((held, "waiting", "disputed"), (over, "disputed", "waiting")):
        if uids:
            await unit.connection.execute(
                update(instances)
                .where(
                    instances.c.delivery == data.delivery,
                    instances.c.sop_instance_uid.in_(sorted(uids)),
                    instances.c.state == before,
                )
                .values(state=after)
            )


async def _close(unit: UnitOfWork, data: ManifestClosedData) -> None:
    """Write the end of a manifest, and make its delivery due unless it runs, is stopped, or is failing."""
    newer = deliveries.c.revision < data.revision
    stays = or_(deliveries.c.withdrawn, deliveries.c.cancelled, deliveries.c.state == "running")
    backing_off = and_(deliveries.c.state == "waiting", deliveries.c.failures > 0)
    ended = deliveries.c.state == "ended"
    waits = instances.c.state.in_(("waiting", "sent"))
    await unit.connection.execute(
        update(deliveries)
        .where(deliveries.c.id == data.delivery)
        .values(
            parts=case((newer, data.parts), else_=deliveries.c.parts),
            expected=case((newer, data.instances), else_=deliveries.c.expected),
            revision=func.greatest(deliveries.c.revision, data.revision),
            receipt_due=or_(newer, deliveries.c.receipt_due),
            state=case((stays, deliveries.c.state), else_="waiting"),
            outcome=case((stays, deliveries.c.outcome), else_=None),
            next_attempt_at=case((or_(stays, backing_off), deliveries.c.next_attempt_at), else_=func.now()),
            only_to_settle=not_(exists().where(instances.c.delivery == data.delivery, waits)),
            expires_at=case((and_(ended, not_(stays)), func.now() + LIFETIME), else_=deliveries.c.expires_at),
        )
    )


async def _withdraw(unit: UnitOfWork, data: ManifestWithdrawnData, cause: UUID) -> None:
    row = await _locked(unit, data.delivery)
    if row is None:
        await _withdraw_unknown(unit, data)
    elif not row.withdrawn:
        await _stop(unit, row, {"withdrawn": True}, data.reason, cause)


async def _withdraw_unknown(unit: UnitOfWork, data: ManifestWithdrawnData) -> None:
    """Remember it: a part that became a dead letter may be replayed behind it, and must not leave then."""
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
            priority="routine",
            directory_version="",
            state="ended",
            outcome="cancelled",
            withdrawn=True,
            reason=data.reason,
            next_attempt_at=None,
            expires_at=func.now(),
        )
        .on_conflict_do_nothing()
    )


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
                await note(unit, event.id, data, row.recipient, row.endpoint, delivery=row.id)
        case _:
            await steer(unit, event, row)


async def _locked(unit: UnitOfWork, delivery: UUID) -> Row[Any] | None:
    found = await unit.connection.execute(
        select(deliveries).where(deliveries.c.id == delivery).with_for_update()
    )
    return found.first()
