"""Judging a batch: decisions one after the other over what is known and what the batch itself adds."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from imex.events import Event, Identity
from imex.events.ids import caused_id, derived
from imex.events.instances import InstanceReceived, InstanceReceivedData
from imex.events.validations import (
    InstanceDuplicated,
    InstanceDuplicatedData,
    InstanceQuarantined,
    InstanceQuarantinedData,
    InstanceValidated,
    InstanceValidatedData,
)
from imex.validation.decide import Accepted, Copy, Decision, Duplicated, Facts, Held, decide
from imex.validation.identity import Demographics, demographics

Key = tuple[str, str]


@dataclass(slots=True)
class Known:
    """What was known before the batch, and what the batch has added so far."""

    accepted: dict[Key, Copy] = field(default_factory=dict)
    waiting: dict[Key, tuple[Copy, ...]] = field(default_factory=dict)
    studies: dict[Key, Demographics] = field(default_factory=dict)
    persons: dict[Key, Demographics] = field(default_factory=dict)
    new_studies: dict[Key, Demographics] = field(default_factory=dict)
    new_persons: dict[Key, Demographics] = field(default_factory=dict)
    new_instances: list[dict[str, Any]] = field(default_factory=list)
    new_judgements: list[dict[str, Any]] = field(default_factory=list)
    new_quarantine: list[dict[str, Any]] = field(default_factory=list)

    def facts(self, data: InstanceReceivedData, mine: Demographics) -> Facts:
        """What is known of one instance."""
        instance = (data.source, data.sop_instance_uid)
        return Facts(
            accepted=self.accepted.get(instance),
            waiting=self.waiting.get(instance, ()),
            study=self.studies.get((data.source, data.study_uid)),
            person=self.persons.get(mine.person) if mine.person else None,
        )


def judge(
    event: InstanceReceived, identity: Identity, known: Known, traceparent: str | None = None
) -> tuple[Decision, Event[Any]]:
    """Decide on one instance, add what follows to `known`, and make the event that says so.

    `traceparent` is of the span that judges; later services continue from it.
    """
    event = event.model_copy(update={"traceparent": traceparent or event.traceparent})
    data = event.data
    decision = decide(data, identity, known.facts(data, demographics(identity, data.source)))
    match decision:
        case Accepted():
            _remember_accepted(event, decision.demographics, known)
            return decision, accepted_event(event, decision.warnings)
        case Held():
            entry = derived("quarantine", str(event.id))
            _remember_held(event, entry, decision, known)
            return decision, _held_event(event, entry, decision)
        case Duplicated():
            known.new_judgements.append(_judgement(event, "duplicated"))
            return decision, _duplicated_event(event, decision)


def person_keys(pairs: Iterable[tuple[InstanceReceivedData, Identity]]) -> set[Key]:
    """The persons that a batch is about."""
    keys = (demographics(identity, data.source).person for data, identity in pairs)
    return {key for key in keys if key is not None}


def accepted_event(
    event: InstanceReceived,
    findings: tuple[Any, ...],
    *,
    cause: UUID | None = None,
    entry: UUID | None = None,
) -> InstanceValidated:
    """The event that lets an instance go on; with `entry`, one that a person released."""
    data = event.data
    return InstanceValidated.of(
        id=caused_id(cause or event.id, InstanceValidated.type_name(), data.sop_instance_uid),
        subject=data.sop_instance_uid,
        traceparent=event.traceparent,
        data=InstanceValidatedData(
            **_facts(data), warnings=findings, released=entry is not None, quarantine=entry
        ),
    )


def _facts(data: InstanceReceivedData) -> dict[str, Any]:
    # what travels on: InstanceValidatedData ignores the facts that only validation needed
    return dict(data)


def _held_event(event: InstanceReceived, entry: UUID, decision: Held) -> InstanceQuarantined:
    return InstanceQuarantined.of(
        id=caused_id(event.id, InstanceQuarantined.type_name(), event.data.sop_instance_uid),
        subject=event.data.sop_instance_uid,
        traceparent=event.traceparent,
        data=InstanceQuarantinedData(
            **_facts(event.data), quarantine=entry, findings=decision.findings, reason=decision.reason
        ),
    )


def _duplicated_event(event: InstanceReceived, decision: Duplicated) -> InstanceDuplicated:
    return InstanceDuplicated.of(
        id=caused_id(event.id, InstanceDuplicated.type_name(), event.data.sop_instance_uid),
        subject=event.data.sop_instance_uid,
        traceparent=event.traceparent,
        data=InstanceDuplicatedData(**_facts(event.data), original=decision.original),
    )


def _remember_accepted(event: InstanceReceived, mine: Demographics, known: Known) -> None:
    data = event.data
    study = (data.source, data.study_uid)
    if study not in known.studies:
        known.studies[study] = known.new_studies[study] = mine
    if mine.person and mine.person not in known.persons:
        known.persons[mine.person] = known.new_persons[mine.person] = mine
    known.accepted[(data.source, data.sop_instance_uid)] = Copy(event.id, data.digest)
    known.new_instances.append(instance_row(event))
    known.new_judgements.append(_judgement(event, "accepted"))


def instance_row(event: InstanceReceived) -> dict[str, Any]:
    """The row that remembers accepted bytes."""
    data = event.data
    return {
        "source": data.source,
        "sop_instance_uid": data.sop_instance_uid,
        "study_uid": data.study_uid,
        "digest": data.digest,
        "event_id": event.id,
        "object_key": data.object_key,
    }


def _remember_held(event: InstanceReceived, entry: UUID, decision: Held, known: Known) -> None:
    data = event.data
    key = (data.source, data.sop_instance_uid)
    known.waiting[key] = (*known.waiting.get(key, ()), Copy(event.id, data.digest))
    known.new_judgements.append(_judgement(event, "quarantined"))
    known.new_quarantine.append(
        {
            "id": entry,
            "source": data.source,
            "study_uid": data.study_uid,
            "sop_instance_uid": data.sop_instance_uid,
            "reason": decision.reason,
            "evidence": [finding.model_dump() for finding in decision.findings],
            "releasable": decision.releasable,
            "digest": data.digest,
            "event_id": event.id,
            "event": event.encode(),
            "object_key": data.object_key,
            "size": data.size,
        }
    )


def _judgement(event: InstanceReceived, judgement: str) -> dict[str, Any]:
    data = event.data
    return {
        "event_id": event.id,
        "source": data.source,
        "study_uid": data.study_uid,
        "sop_instance_uid": data.sop_instance_uid,
        "digest": data.digest,
        "object_key": data.object_key,
        "association": data.association,
        "judgement": judgement,
        "received_at": data.received_at,
    }
