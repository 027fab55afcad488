"""Handling of batches: gather what is known, decide each instance, write and publish in one transaction."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import UUID

import structlog

from imex.db import UnitOfWork
from imex.events import Event, Identity, Sealed, study_key
from imex.events.audit import Actor, AuditAction, AuditRecorded, AuditRecordedData
from imex.events.commands import QuarantineCommanded
from imex.events.ids import caused_id, root_traceparent, trace_id_hex
from imex.events.instances import AssociationEnded, InstanceReceived
from imex.events.validations import (
    AssociationValidated,
    AssociationValidatedData,
    Finding,
    InstanceDiscarded,
    InstanceDiscardedData,
)
from imex.observability.names import SpanName
from imex.observability.traces import Traces, traceparent_of
from imex.runtime import Message
from imex.validation.batch import Known, accepted_event, instance_row, judge, person_keys
from imex.validation.decide import Held
from imex.validation.repository import Repository

log = structlog.get_logger(__name__)

OpenIdentity = Callable[[Sealed, str], Identity]
"""Opens a sealed field that belongs to an object key."""

Counted = Callable[[str, str], None]
"""Told of each judgement and the checks that made it, for metrics."""

StudyKey = tuple[str, str]


class InstancesHandler:
    """Judges what ingest has received."""

    def __init__(self, open_identity: OpenIdentity, traces: Traces, counted: Counted) -> None:
        """`open_identity` may raise only for a field that nobody can open."""
        self._open_identity = open_identity
        self._traces = traces
        self._counted = counted

    async def __call__(self, messages: Sequence[Message], unit: UnitOfWork) -> None:
        """One batch in one transaction."""
        with self._spans(messages) as traceparents:
            await self._handle(messages, unit, traceparents)

    async def _handle(
        self, messages: Sequence[Message], unit: UnitOfWork, traceparents: dict[StudyKey, str | None]
    ) -> None:
        repository = Repository(unit.connection)
        received = [m.event for m in messages if isinstance(m.event, InstanceReceived)]
        identities = {
            event.id: self._open_identity(event.data.identity, event.data.object_key) for event in received
        }
        known = await self._known(repository, received, identities)
        judged: dict[UUID, Event[Any]] = {}
        for event in received:
            traceparent = traceparents.get((event.data.source, event.data.study_uid))
            decision, judged[event.id] = judge(event, identities[event.id], known, traceparent)
            if isinstance(decision, Held):
                log.warning(
                    "instance quarantined",
                    trace_id=trace_id_hex(event.data.source, event.data.study_uid),
                    source=event.data.source,
                    study_uid=event.data.study_uid,
                    sop_instance_uid=event.data.sop_instance_uid,
                    reason=decision.reason,
                )
                unit.publish(_audit(event, "instance_quarantined", decision.reason))
            checks = decision.findings if isinstance(decision, Held) else ()
            self._counted(type(decision).__name__.lower(), ",".join(sorted({f.check for f in checks})))
        await _write(repository, known)
        for message in messages:
            match message.event:
                case InstanceReceived():
                    unit.publish(judged[message.event.id])
                case AssociationEnded():
                    unit.publish(await _association_validated(message.event, repository))

    @contextmanager
    def _spans(self, messages: Sequence[Message]) -> Iterator[dict[StudyKey, str | None]]:
        """A span in the trace of each study of the batch; yields what later services take as parent."""
        batch: dict[StudyKey, list[Message]] = {}
        for message in messages:
            data = message.event.data
            batch.setdefault((data.source, data.study_uid), []).append(message)
        with ExitStack() as stack:
            traceparents = {}
            for (source, study_uid), of_study in batch.items():
                span = stack.enter_context(
                    self._traces.span(
                        SpanName.VALIDATE,
                        source,
                        study_uid,
                        attributes={"imex.records": len(of_study)},
                        parent=of_study[0].traceparent,
                    )
                )
                traceparents[(source, study_uid)] = traceparent_of(span)
            yield traceparents

    async def _known(
        self,
        repository: Repository,
        received: Sequence[InstanceReceived],
        identities: dict[UUID, Identity],
    ) -> Known:
        if not received:
            return Known()
        instances = {(event.data.source, event.data.sop_instance_uid) for event in received}
        studies = {(event.data.source, event.data.study_uid) for event in received}
        people = person_keys((event.data, identities[event.id]) for event in received)
        return await repository.known(instances, studies, people)


class CommandsHandler:
    """Does what people decided of quarantine entries."""

    async def __call__(self, messages: Sequence[Message], unit: UnitOfWork) -> None:
        """One batch in one transaction."""
        repository = Repository(unit.connection)
        for message in messages:
            if isinstance(message.event, QuarantineCommanded):
                await _settle(message.event, repository, unit)


async def _settle(command: QuarantineCommanded, repository: Repository, unit: UnitOfWork) -> None:
    data = command.data
    entry = await repository.entry(data.quarantine)
    if entry is None or entry.state != "waiting":
        log.info("quarantine command without effect", quarantine=str(data.quarantine), command=data.command)
        return
    event = InstanceReceived.model_validate_json(entry.event)
    if data.command == "discard":
        await repository.settle(entry.id, event.id, "discarded", data.actor, data.reason)
        unit.publish(_discarded_event(command, event))
        unit.publish(_audit(event, "instance_discarded", data.reason, command))
        return
    key = (entry.source, entry.sop_instance_uid)
    if not entry.releasable or await repository.accepted([key]):
        # other bytes may have been accepted under this UID since: what was delivered stays delivered
        log.warning("quarantine entry cannot be released", quarantine=str(entry.id))
        return
    findings = tuple(Finding.model_validate(finding) for finding in entry.evidence)
    await repository.settle(entry.id, event.id, "released", data.actor, data.reason)
    await repository.add_instances([instance_row(event)])
    unit.publish(accepted_event(event, findings, cause=command.id, entry=entry.id))
    unit.publish(_audit(event, "instance_released", data.reason, command))


def _discarded_event(command: QuarantineCommanded, event: InstanceReceived) -> InstanceDiscarded:
    data = event.data
    return InstanceDiscarded.of(
        id=caused_id(command.id, InstanceDiscarded.type_name(), data.sop_instance_uid),
        subject=data.sop_instance_uid,
        traceparent=root_traceparent(data.source, data.study_uid),
        data=InstanceDiscardedData(
            source=data.source,
            study_uid=data.study_uid,
            sop_instance_uid=data.sop_instance_uid,
            lane=data.lane,
            quarantine=command.data.quarantine,
            reason=command.data.reason,
            actor=command.data.actor,
        ),
    )


async def _write(repository: Repository, known: Known) -> None:
    await repository.add_studies(known.new_studies)
    await repository.add_persons(known.new_persons)
    await repository.add_instances(known.new_instances)
    await repository.add_judgements(known.new_judgements)
    await repository.add_quarantine(known.new_quarantine)


async def _association_validated(event: AssociationEnded, repository: Repository) -> AssociationValidated:
    data = event.data
    counts = await repository.counts(data.source, data.study_uid, data.association)
    quarantined = sum(counts.get(state, 0) for state in ("quarantined", "released", "discarded"))
    log.info(
        "association validated",
        trace_id=trace_id_hex(data.source, data.study_uid),
        source=data.source,
        study_uid=data.study_uid,
        association=str(data.association),
        **counts,
    )
    return AssociationValidated.of(
        id=caused_id(event.id, AssociationValidated.type_name(), study_key(data.source, data.study_uid)),
        subject=str(data.association),
        traceparent=event.traceparent,
        data=AssociationValidatedData(
            source=data.source,
            study_uid=data.study_uid,
            association=data.association,
            lane=data.lane,
            calling_ae=data.calling_ae,
            called_ae=data.called_ae,
            outcome=data.outcome,
            received=data.received,
            accepted=counts.get("accepted", 0),
            quarantined=quarantined,
            duplicated=counts.get("duplicated", 0),
        ),
    )


def _audit(
    event: InstanceReceived, action: AuditAction, reason: str, command: QuarantineCommanded | None = None
) -> AuditRecorded:
    actor = Actor(kind="service", id="validation")
    if command is not None:
        actor = Actor(kind="person", id=command.data.actor, institution=command.data.actor_institution)
    data = event.data
    cause = command.id if command is not None else event.id
    return AuditRecorded.of(
        id=caused_id(cause, AuditRecorded.type_name(), f"{action}/{data.sop_instance_uid}"),
        subject=data.sop_instance_uid,
        traceparent=root_traceparent(data.source, data.study_uid),
        data=AuditRecordedData(
            action=action,
            outcome="success",
            actor=actor,
            study_uid=data.study_uid,
            source=data.source,
            reason=reason,
            counts={"instances": 1},
            details={"sop_instance_uid": data.sop_instance_uid},
        ),
    )
