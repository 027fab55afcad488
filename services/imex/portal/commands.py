"""What people ask of routing, validation and delivery: commands that leave through the outbox."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert

from imex.db import UnitOfWork
from imex.db.tables.portal import idempotency
from imex.dicom.mapping import Kind, Told
from imex.dicom.rejection import ReasonCode
from imex.events import Priority
from imex.events.commands import (
    CorrectionCommanded,
    CorrectionCommandedData,
    DeliveryCommanded,
    DeliveryCommandedData,
    DestinationCommanded,
    DestinationCommandedData,
    HoldCommanded,
    HoldCommandedData,
    IdentifierCommanded,
    IdentifierCommandedData,
    LinkCommanded,
    LinkCommandedData,
    MarkCommanded,
    MarkCommandedData,
    NumberCommanded,
    NumberCommandedData,
    QuarantineCommanded,
    QuarantineCommandedData,
    RequestCommanded,
    RequestCommandedData,
    ShareCommanded,
    ShareCommandedData,
)
from imex.events.ids import derived, root_traceparent
from imex.events.sealed import Sealed, seal_context
from imex.portal.problems import Problem
from imex.portal.scope import Caller
from imex.sealing import Sealer

ShareCommand = Literal["accept", "refuse", "cancel", "revoke", "complete"]

T = TypeVar("T")

_POLL_S = 0.04


class NewShare(BaseModel):
    """A study to share."""

    model_config = ConfigDict(extra="forbid")

    study_uid: str = Field(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=64, description="Study Instance UID")
    source: str = Field(min_length=1, max_length=32, description="institution that the study came from")
    recipient: str = Field(min_length=1, max_length=32)
    purpose: str = Field(default="direct-care", min_length=1, max_length=64)
    priority: Priority = "routine"
    endpoint: str | None = Field(default=None, min_length=1, max_length=64, description="else the first")
    clinician: str | None = Field(
        default=None, min_length=1, max_length=200, description="at the recipient, whom it is for"
    )
    note: str | None = Field(default=None, max_length=2000, description="for the recipient; kept sealed")
    reference: str | None = Field(default=None, min_length=1, max_length=128, description="the caller's own")


async def command_id(unit: UnitOfWork, caller: Caller, key: str | None, request: BaseModel) -> UUID:
    """The id of the command that `request` makes; a repeat under one key gets the same id.

    Raises:
        Problem: 422, the key was used for another request.
    """
    if key is None:
        return uuid4()
    owner = f"{caller.kind}/{caller.id}"
    asked = hashlib.sha256(request.model_dump_json().encode()).digest()
    command = derived("command", owner, key)
    i = idempotency.c
    new = await unit.connection.execute(
        upsert(idempotency)
        .values(caller=owner, key=key, request=asked, command=command)
        .on_conflict_do_nothing()
        .returning(i.command)
    )
    if new.one_or_none() is None:
        first = await unit.connection.scalar(select(i.request).where(i.caller == owner, i.key == key))
        if first != asked:
            raise Problem(422, "This Idempotency-Key was used for another request. Use a new one.")
    return command


def create_share(
    unit: UnitOfWork, caller: Caller, command: UUID, wanted: NewShare, note: Sealed | None
) -> None:
    """Ask routing for a new share."""
    unit.publish(
        ShareCommanded.of(
            id=command,
            subject=f"{wanted.source}/{wanted.study_uid}",
            traceparent=root_traceparent(wanted.source, wanted.study_uid),
            data=ShareCommandedData(
                command="create",
                note=note,
                **wanted.model_dump(exclude={"note"}),
                **_who(caller),
            ),
        )
    )


def change_share(
    unit: UnitOfWork,
    caller: Caller,
    command: ShareCommand,
    *,
    share: UUID,
    study: tuple[str, str, str],
    reason: str,
) -> UUID:
    """Ask routing to change a share; gives back the command's id."""
    source, study_uid, recipient = study
    event = ShareCommanded.of(
        id=uuid4(),
        subject=str(share),
        traceparent=root_traceparent(source, study_uid),
        data=ShareCommandedData(
            command=command,
            share=share,
            source=source,
            study_uid=study_uid,
            recipient=recipient,
            reason=reason,
            **_who(caller),
        ),
    )
    unit.publish(event)
    return event.id


def decide_quarantine(
    unit: UnitOfWork,
    caller: Caller,
    command: Literal["release", "discard"],
    *,
    entry: UUID,
    study: tuple[str, str],
    reason: str,
) -> None:
    """Ask validation to release or discard what it holds."""
    source, study_uid = study
    unit.publish(
        QuarantineCommanded.of(
            id=uuid4(),
            subject=str(entry),
            traceparent=root_traceparent(source, study_uid),
            data=QuarantineCommandedData(
                command=command,
                quarantine=entry,
                source=source,
                study_uid=study_uid,
                reason=reason,
                **_who(caller),
            ),
        )
    )


def change_delivery(
    unit: UnitOfWork,
    caller: Caller,
    command: Literal["retry", "cancel", "pause", "resume", "reroute"],
    *,
    delivery: UUID,
    study: tuple[str, str],
    reason: str,
    endpoint: str | None = None,
) -> None:
    """Ask delivery to try now, to give up, to hold it, or to send it to another `endpoint`."""
    source, study_uid = study
    unit.publish(
        DeliveryCommanded.of(
            id=uuid4(),
            subject=str(delivery),
            traceparent=root_traceparent(source, study_uid),
            data=DeliveryCommandedData(
                command=command,
                delivery=delivery,
                source=source,
                study_uid=study_uid,
                reason=reason,
                endpoint=endpoint,
                **_who(caller),
            ),
        )
    )


def change_destination(
    unit: UnitOfWork,
    caller: Caller,
    command: Literal["pause", "resume", "retry"],
    *,
    recipient: str,
    endpoint: str,
    reason: str,
) -> None:
    """Ask delivery to leave a whole destination alone, to go on, or to ask it again at once."""
    unit.publish(
        DestinationCommanded.of(
            id=uuid4(),
            subject=f"{recipient}/{endpoint}",
            data=DestinationCommandedData(
                command=command, recipient=recipient, endpoint=endpoint, reason=reason, **_who(caller)
            ),
        )
    )


def add_identifier(
    unit: UnitOfWork,
    caller: Caller,
    *,
    identifier: UUID,
    recipient: str,
    kind: Kind,
    sender: str,
    told: Told,
    sealer: Sealer,
) -> None:
    """Ask delivery to use a recipient's own identifier for a sender's."""
    sealed = sealer.seal(told, seal_context("identifier", identifier))
    _about_identifier(unit, caller, "add", identifier, recipient, kind, sender, sealed)


def remove_identifier(
    unit: UnitOfWork, caller: Caller, *, identifier: UUID, recipient: str, kind: Kind, sender: str
) -> None:
    """Ask delivery to use it no more."""
    _about_identifier(unit, caller, "remove", identifier, recipient, kind, sender, None)


def _about_identifier(  # noqa: PLR0917  the parts of the command
    unit: UnitOfWork,
    caller: Caller,
    command: Literal["add", "remove"],
    identifier: UUID,
    recipient: str,
    kind: Kind,
    sender: str,
    sealed: Sealed | None,
) -> None:
    unit.publish(
        IdentifierCommanded.of(
            id=uuid4(),
            subject=f"identifier/{identifier}",
            data=IdentifierCommandedData(
                command=command,
                identifier=identifier,
                recipient=recipient,
                identifier_kind=kind,
                sender=sender,
                sealed=sealed,
                **_who(caller),
            ),
        )
    )


def hold_study(
    unit: UnitOfWork,
    caller: Caller,
    command: Literal["place", "lift"],
    *,
    source: str,
    study_uid: str,
    reason: str,
) -> UUID:
    """Ask routing to keep a study's payloads, or to let them go on schedule; the command's id."""
    identifier = uuid4()
    unit.publish(
        HoldCommanded.of(
            id=identifier,
            subject=f"{source}/{study_uid}",
            traceparent=root_traceparent(source, study_uid),
            data=HoldCommandedData(
                source=source, study_uid=study_uid, command=command, reason=reason, **_who(caller)
            ),
        )
    )
    return identifier


def correct(
    unit: UnitOfWork,
    caller: Caller,
    command: Literal["open", "acknowledge"],
    *,
    correction: UUID,
    study: tuple[str, str],
    reason: str,
    kind: Literal["recall", "demographics", "merge"] = "recall",
    code: ReasonCode | None = None,
    instances: tuple[str, ...] = (),
    person: Sealed | None = None,
    recipient: str | None = None,
) -> UUID:
    """Ask routing to open a correction, or to note that a recipient has seen to it; the command's id."""
    source, study_uid = study
    identifier = uuid4()
    unit.publish(
        CorrectionCommanded.of(
            id=identifier,
            subject=f"correction/{correction}",
            traceparent=root_traceparent(source, study_uid),
            data=CorrectionCommandedData(
                command=command,
                correction=correction,
                source=source,
                study_uid=study_uid,
                correction_kind=kind,
                code=code,
                instances=instances,
                person=person,
                recipient=recipient,
                reason=reason,
                **_who(caller),
            ),
        )
    )
    return identifier


def ask_for_studies(
    unit: UnitOfWork,
    caller: Caller,
    command: Literal["make", "grant", "refuse", "withdraw", "retry"],
    *,
    request: UUID,
    requester: str,
    holder: str,
    **said: Any,
) -> UUID:
    """Ask routing to make a request, or to note what is decided of it; the command's id."""
    identifier = uuid4()
    unit.publish(
        RequestCommanded.of(
            id=identifier,
            subject=f"request/{request}",
            data=RequestCommandedData(
                command=command,
                request=request,
                requester=requester,
                holder=holder,
                **said,
                **_who(caller),
            ),
        )
    )
    return identifier


def mark_record(
    unit: UnitOfWork,
    caller: Caller,
    *,
    opted_out: bool,
    sensitive: bool,
    reason: str,
    sealed: Sealed,
    mark: UUID,
) -> None:
    """Ask routing to mark a person's record, who is named in `sealed` alone."""
    unit.publish(
        MarkCommanded.of(
            id=mark,
            subject=f"mark/{mark}",
            data=MarkCommandedData(
                mark=mark,
                person=sealed,
                opted_out=opted_out,
                sensitive=sensitive,
                reason=reason,
                **_who(caller),
            ),
        )
    )


def link_identity(
    unit: UnitOfWork, caller: Caller, *, link: UUID, study: tuple[str, str], sealed: Sealed, reason: str
) -> None:
    """Ask validation and routing to take a study as a person's, who is named in `sealed` alone."""
    source, study_uid = study
    unit.publish(
        LinkCommanded.of(
            id=link,
            subject=f"{source}/{study_uid}",
            traceparent=root_traceparent(source, study_uid),
            data=LinkCommandedData(
                link=link,
                source=source,
                study_uid=study_uid,
                person=sealed,
                reason=reason,
                **_who(caller),
            ),
        )
    )


def trace_number(
    unit: UnitOfWork,
    caller: Caller,
    *,
    number: UUID,
    sealed: Sealed,
    status: Literal["traced", "not-traced", "superseded"],
) -> None:
    """Ask validation to keep what tracing has found."""
    unit.publish(
        NumberCommanded.of(
            id=number,
            subject=f"number/{number}",
            data=NumberCommandedData(number=number, traced=sealed, tracing=status, **_who(caller)),
        )
    )


def _who(caller: Caller) -> dict[str, Any]:
    return {"actor": caller.name, "actor_institution": caller.institution}


async def until(ask: Callable[[], Awaitable[T | None]], seconds: float) -> T | None:
    """What `ask` finds, as soon as it finds it; None when it has not after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = await ask()
        if found is not None or time.monotonic() >= deadline:
            return found
        await asyncio.sleep(_POLL_S)
