"""Handling of batches: gather what is known, decide each instance, write and publish in one transaction."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol
from uuid import UUID

import structlog

from imex.db import UnitOfWork
from imex.events import Event, Identity, Sealed, study_key
from imex.events.ids import caused_id, trace_id_hex
from imex.events.instances import AssociationEnded, InstanceReceived
from imex.events.validations import (
    AssociationValidated,
    AssociationValidatedData,
)
from imex.observability.names import SpanName
from imex.observability.traces import Traces, traceparent_of
from imex.runtime import Message
from imex.validation.audit import audited
from imex.validation.batch import Known, judge, other_bytes, person_keys
from imex.validation.decide import COMMON, Held
from imex.validation.policy import Policy
from imex.validation.repository import Repository

log = structlog.get_logger(__name__)

OpenIdentity = Callable[[Sealed, str], Identity]
"""Opens a sealed field that belongs to an object key."""

Counted = Callable[[str, str], None]
"""Told of each judgement and the checks that made it, for metrics."""

SamePixels = Callable[[Mapping[str, tuple[str, str]]], Awaitable[set[str]]]
"""Which objects have the pixel data of others: object key to transfer syntax and the other's key."""

TellRejections = Callable[[Sequence[Event[Any]]], Awaitable[tuple[Event[Any], ...]]]
"""Adds to events of accepted rejection notes what they take back."""

StudyKey = tuple[str, str]


class Rules(Protocol):
    """What the directory says of findings."""

    async def policy(self, source: str, versions: set[str]) -> Policy:
        """The policy for a source, once these versions of the directory are known here.

        Raises:
            Transient: they are not yet.
        """
        ...


class InstancesHandler:
    """Judges what ingest has received."""

    def __init__(
        self,
        open_identity: OpenIdentity,
        traces: Traces,
        counted: Counted,
        rules: Rules | None = None,
        same_pixels: SamePixels | None = None,
        *,
        tell_rejections: TellRejections | None = None,
    ) -> None:
        """`open_identity` may raise only for a field that nobody can open.

        Without `rules` every finding does what it does by default; without `same_pixels` other bytes are
        always a conflict.
        """
        self._rules = rules
        self._same_pixels = same_pixels
        self._tell_rejections = tell_rejections
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
        policies = {source: await self._policy(source, received) for source in _sources(received)}
        known = await self._known(repository, received, identities, policies)
        judged: dict[UUID, tuple[Event[Any], ...]] = {}
        for event in received:
            traceparent = traceparents.get((event.data.source, event.data.study_uid))
            decision, judged[event.id] = judge(
                event, identities[event.id], known, traceparent, policies[event.data.source]
            )
            if self._tell_rejections is not None:
                judged[event.id] = await self._tell_rejections(judged[event.id])
            if isinstance(decision, Held):
                log.warning(
                    "instance refused" if decision.refused else "instance quarantined",
                    trace_id=trace_id_hex(event.data.source, event.data.study_uid),
                    source=event.data.source,
                    study_uid=event.data.study_uid,
                    sop_instance_uid=event.data.sop_instance_uid,
                    reason=decision.reason,
                )
                words = f"refused: {decision.reason}" if decision.refused else decision.reason
                unit.publish(audited(event, "instance_quarantined", words))
            checks = decision.checks if isinstance(decision, Held) else ()
            self._counted(type(decision).__name__.lower(), ",".join(sorted(checks)))
        await _write(repository, known)
        for message in messages:
            match message.event:
                case InstanceReceived():
                    for said in judged[message.event.id]:
                        unit.publish(said)
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
        policies: dict[str, Policy],
    ) -> Known:
        if not received:
            return Known()
        instances = {(event.data.source, event.data.sop_instance_uid) for event in received}
        studies = {(event.data.source, event.data.study_uid) for event in received}
        people = person_keys(
            (event.data, identities[event.id], policies[event.data.source]) for event in received
        )
        known = await repository.known(instances, studies, people)
        if self._same_pixels is not None and (pairs := other_bytes(received, known)):
            known.same_pixels = await self._same_pixels(pairs)
        return known

    async def _policy(self, source: str, received: Sequence[InstanceReceived]) -> Policy:
        if self._rules is None:
            return COMMON
        versions = {event.data.directory_version for event in received if event.data.source == source}
        return await self._rules.policy(source, versions)


async def _write(repository: Repository, known: Known) -> None:
    await repository.add_studies(known.new_studies)
    await repository.add_persons(known.new_persons)
    await repository.add_instances(known.new_instances)
    await repository.keep(known.relied_on)
    await repository.know_studies(known.known_studies)
    await repository.replace_instances(known.replaced)
    await repository.add_judgements(known.new_judgements)
    await repository.add_quarantine(known.new_quarantine)


async def _association_validated(event: AssociationEnded, repository: Repository) -> AssociationValidated:
    data = event.data
    counts = await repository.counts(data.source, data.study_uid, data.association)
    quarantined = sum(counts.get(state, 0) for state in ("quarantined", "refused", "released", "discarded"))
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


def _sources(received: Iterable[InstanceReceived]) -> set[str]:
    return {event.data.source for event in received}
