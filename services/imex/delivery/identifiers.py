"""Recipients' own identifiers for senders', as people command them: one for one, or not at all."""

from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork, mappings
from imex.db.tables.delivery import identifiers
from imex.dicom.mapping import Held, Told, collision, domain
from imex.events import ids
from imex.events.audit import Actor, AuditRecorded, AuditRecordedData
from imex.events.commands import IdentifierCommanded
from imex.events.sealed import seal_context
from imex.sealing import Sealer

_LOCK: Final = "identifiers/"


async def obey(unit: UnitOfWork, event: IdentifierCommanded, sealer: Sealer) -> None:
    """Add or remove a mapping. One that would be ambiguous is refused, and that is audited."""
    data = event.data
    if data.command == "remove":
        await unit.connection.execute(
            delete(identifiers).where(
                identifiers.c.id == data.identifier, identifiers.c.recipient == data.recipient
            )
        )
        return
    if data.sealed is None:
        return
    told = sealer.open_as(Told, data.sealed, seal_context("identifier", data.identifier))
    # two that collide must not be checked at the same time
    await unit.connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(_LOCK + data.recipient))))
    beside = await unit.connection.execute(
        mappings.beside(data.recipient, data.identifier_kind, data.sender, told.value, told.own)
    )
    reason = collision([Held(*row) for row in beside], data.identifier_kind, data.sender, told)
    if reason:
        unit.publish(_refused(event, reason))
        return
    await unit.connection.execute(
        insert(identifiers)
        .values(
            id=data.identifier,
            recipient=data.recipient,
            kind=data.identifier_kind,
            source=data.sender,
            issuer=domain(told.issuer, data.sender),
            value=told.value,
            own=told.own,
            name=told.name,
            birth_date=told.birth_date,
            actor=data.actor,
        )
        .on_conflict_do_nothing()
    )


def _refused(event: IdentifierCommanded, reason: str) -> AuditRecorded:
    data = event.data
    recorded = AuditRecorded.of(
        id=ids.caused_id(event.id, AuditRecorded.type_name(), str(data.identifier)),
        subject=f"identifier/{data.identifier}",
        data=AuditRecordedData(
            action="identifier_mapped",
            outcome="refused",
            actor=Actor(kind="service", id="delivery"),
            recipient=data.recipient,
            reason=reason,
            details={
                "kind": data.identifier_kind,
                "sender": data.sender,
                "identifier": str(data.identifier),
            },
        ),
    )
    return recorded.model_copy(update={"source": "/imex/delivery"})
