"""What people decide: of quarantine entries, and of identities."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from imex.db import UnitOfWork
from imex.events.commands import LinkCommanded, NumberCommanded, QuarantineCommanded, SubjectCommanded
from imex.events.ids import caused_id, root_traceparent
from imex.events.instances import InstanceReceived
from imex.events.validations import Finding, InstanceDiscarded, InstanceDiscardedData
from imex.runtime import Message
from imex.validation.audit import audited
from imex.validation.batch import accepted_event, instance_row
from imex.validation.handler import TellRejections
from imex.validation.identities import OpenNumber, OpenPerson, link, trace
from imex.validation.repository import Repository
from imex.validation.subjects import obey as obey_subject

log = structlog.get_logger(__name__)
_REVISION = frozenset({"conflict", "header-revision"})
"""Checks whose release puts other bytes in the place of accepted ones."""


class CommandsHandler:
    """Does what people decided."""

    def __init__(
        self,
        open_person: OpenPerson,
        open_number: OpenNumber,
        tell_rejections: TellRejections | None = None,
    ) -> None:
        """Two open what is sealed in a command; the third reads rejection notes that are released."""
        self._open_person = open_person
        self._open_number = open_number
        self._tell_rejections = tell_rejections

    async def __call__(self, messages: Sequence[Message], unit: UnitOfWork) -> None:
        """One batch in one transaction."""
        repository = Repository(unit.connection)
        for message in messages:
            match message.event:
                case QuarantineCommanded():
                    await settle(message.event, repository, unit, self._tell_rejections)
                case SubjectCommanded():
                    discard = partial(settle, repository=repository, unit=unit)
                    await obey_subject(unit, message.event, self._open_person, discard)
                case LinkCommanded():
                    await link(unit, message.event, self._open_person)
                case NumberCommanded():
                    await trace(unit, message.event, self._open_number)


async def settle(
    command: QuarantineCommanded,
    repository: Repository,
    unit: UnitOfWork,
    tell_rejections: TellRejections | None = None,
) -> None:
    """Release or discard one entry, if it still waits."""
    data = command.data
    entry = await repository.entry(data.quarantine)
    if entry is None or entry.state != "waiting":
        log.info("quarantine command without effect", quarantine=str(data.quarantine), command=data.command)
        return
    if data.command == "discard":
        await _discard(entry, command, data.reason, repository, unit)
    else:
        await _release(entry, command, repository, unit, tell_rejections)


async def _release(
    entry: Any,
    command: QuarantineCommanded,
    repository: Repository,
    unit: UnitOfWork,
    tell_rejections: TellRejections | None,
) -> None:
    event = InstanceReceived.model_validate_json(entry.event)
    key = (entry.source, entry.sop_instance_uid)
    accepted = (await repository.accepted([key])).get(key)
    if not entry.releasable or (
        accepted is not None
        and (not _REVISION & set(entry.checks) or accepted.study_uid != event.data.study_uid)
    ):
        # other bytes may have been accepted under this UID since, maybe in another study: which of them
        # stands was not asked
        log.warning("quarantine entry cannot be released", quarantine=str(entry.id))
        return
    findings = tuple(Finding.model_validate(finding) for finding in entry.evidence)
    await repository.settle(entry.id, event.id, "released", command.data.actor, command.data.reason)
    if accepted is None:
        await repository.add_instances([instance_row(event)])
    else:
        await repository.replace_instances([instance_row(event)])
    for rival in await repository.rivals(*key):
        # a person chose this copy: the others lose with the accepted one
        await _discard(rival, command, f"another copy was chosen: {command.data.reason}", repository, unit)
    replaces = accepted.event_id if accepted is not None else None
    said = (accepted_event(event, findings, cause=command.id, entry=entry.id, replaces=replaces),)
    for one in await tell_rejections(said) if tell_rejections is not None else said:
        unit.publish(one)
    unit.publish(audited(event, "instance_released", command.data.reason, command))


async def _discard(
    entry: Any, command: QuarantineCommanded, reason: str, repository: Repository, unit: UnitOfWork
) -> None:
    event = InstanceReceived.model_validate_json(entry.event)
    await repository.settle(entry.id, event.id, "discarded", command.data.actor, reason)
    unit.publish(_discarded_event(command, entry.id, event, reason))
    unit.publish(audited(event, "instance_discarded", reason, command))


def _discarded_event(
    command: QuarantineCommanded, entry: UUID, event: InstanceReceived, reason: str
) -> InstanceDiscarded:
    data = event.data
    return InstanceDiscarded.of(
        id=caused_id(command.id, InstanceDiscarded.type_name(), str(entry)),
        subject=data.sop_instance_uid,
        traceparent=root_traceparent(data.source, data.study_uid),
        data=InstanceDiscardedData(
            source=data.source,
            study_uid=data.study_uid,
            sop_instance_uid=data.sop_instance_uid,
            lane=data.lane,
            quarantine=entry,
            reason=reason,
            actor=command.data.actor,
        ),
    )
