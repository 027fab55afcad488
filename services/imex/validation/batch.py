"""Judging a batch: decisions one after the other over what is known and what the batch itself adds."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from imex.events import Event, Identity
from imex.events.ids import caused_id, derived
from imex.events.instances import InstanceReceived, InstanceReceivedData
from imex.events.validations import (
    InstanceDiscarded,
    InstanceDiscardedData,
    InstanceDuplicated,
    InstanceDuplicatedData,
    InstanceQuarantined,
    InstanceQuarantinedData,
    InstanceValidated,
    InstanceValidatedData,
)
from imex.validation.decide import (
    COMMON,
    Accepted,
    Copy,
    Decision,
    Duplicated,
    Facts,
    Held,
    Traced,
    decide,
    of,
)
from imex.validation.identity import Demographics, nhs_number_of, person_keys_of
from imex.validation.policy import Policy

Key = tuple[str, str]


@dataclass(slots=True)
class Known:
    """What was known before the batch, and what the batch has added so far."""

    accepted: dict[Key, Copy] = field(default_factory=dict)
    waiting: dict[Key, tuple[Copy, ...]] = field(default_factory=dict)
    studies: dict[Key, Demographics] = field(default_factory=dict)
    persons: dict[Key, Demographics] = field(default_factory=dict)
    traced: dict[str, Traced] = field(default_factory=dict)
    """What is known of NHS numbers."""
    objects: dict[Key, str] = field(default_factory=dict)
    """Object keys of accepted bytes."""
    same_pixels: set[str] = field(default_factory=set)
    """Object keys whose pixel data is that of the bytes accepted before them."""
    new_studies: dict[Key, Demographics] = field(default_factory=dict)
    new_persons: dict[Key, Demographics] = field(default_factory=dict)
    new_instances: list[dict[str, Any]] = field(default_factory=list)
    new_judgements: list[dict[str, Any]] = field(default_factory=list)
    new_quarantine: list[dict[str, Any]] = field(default_factory=list)

    known_studies: dict[Key, Demographics] = field(default_factory=dict)
    """Studies of a temporary identity whose person is known now."""
    replaced: list[dict[str, Any]] = field(default_factory=list)
    """Rows that take the place of accepted bytes."""
    relied_on: set[Key] = field(default_factory=set)
    """Instances of which a decision says that bytes are accepted already."""

    def facts(self, data: InstanceReceivedData, identity: Identity, mine: Demographics) -> Facts:
        """What is known of one instance."""
        instance = (data.source, data.sop_instance_uid)
        persons = (self.persons.get(key) for key in person_keys_of(identity, mine))
        return Facts(
            accepted=self.accepted.get(instance),
            waiting=self.waiting.get(instance, ()),
            study=self.studies.get((data.source, data.study_uid)),
            persons=tuple(person for person in persons if person is not None),
            same_pixels=data.object_key in self.same_pixels,
            traced=self.traced.get(nhs_number_of(identity)) if self.traced else None,
        )

    def rely(self, decision: Decision, instance: Key) -> None:
        """Remember what a decision rests on: accepted bytes whose payload may be given up meanwhile."""
        match decision:
            case Accepted(replaces=original) | Held(disputes=original) | Duplicated(original=original):
                accepted = self.accepted.get(instance)
                if accepted is not None and accepted.event_id == original:
                    self.relied_on.add(instance)


def judge(
    event: InstanceReceived,
    identity: Identity,
    known: Known,
    traceparent: str | None = None,
    policy: Policy = COMMON,
) -> tuple[Decision, tuple[Event[Any], ...]]:
    """Decide on one instance, add what follows to `known`, and make the events that say so.

    `traceparent` is of the span that judges; later services continue from it.
    """
    event = event.model_copy(update={"traceparent": traceparent or event.traceparent})
    data = event.data
    mine = of(data, identity, policy)
    decision = decide(data, identity, known.facts(data, identity, mine), policy, mine)
    known.rely(decision, (data.source, data.sop_instance_uid))
    match decision:
        case Accepted():
            _remember_accepted(event, identity, decision, known)
            return decision, (accepted_event(event, decision.warnings, replaces=decision.replaces),)
        case Held():
            entry = derived("quarantine", str(event.id))
            _remember_held(event, entry, decision, known)
            held = _held_event(event, entry, decision)
            return decision, (held, refused_event(event, entry, decision)) if decision.refused else (held,)
        case Duplicated():
            known.new_judgements.append(_judgement(event, "duplicated"))
            return decision, (_duplicated_event(event, decision),)


def person_keys(triples: Iterable[tuple[InstanceReceivedData, Identity, Policy]]) -> set[Key]:
    """The persons that a batch is about."""
    return {
        key
        for data, identity, policy in triples
        for key in person_keys_of(identity, of(data, identity, policy))
    }


def other_bytes(events: Iterable[InstanceReceived], known: Known) -> dict[str, tuple[str, str]]:
    """Instances that came before with other bytes: object key to transfer syntax and the other object."""
    first = {key: (copy.digest, known.objects.get(key, "")) for key, copy in known.accepted.items()}
    found = {}
    for event in events:
        data = event.data
        digest, other = first.setdefault((data.source, data.sop_instance_uid), (data.digest, data.object_key))
        if digest != data.digest and other:
            found[data.object_key] = (data.transfer_syntax, other)
    return found


def accepted_event(
    event: InstanceReceived,
    findings: tuple[Any, ...],
    *,
    cause: UUID | None = None,
    entry: UUID | None = None,
    replaces: UUID | None = None,
) -> InstanceValidated:
    """The event that lets an instance go on; with `entry`, one that a person released."""
    data = event.data
    return InstanceValidated.of(
        id=caused_id(cause or event.id, InstanceValidated.type_name(), data.sop_instance_uid),
        subject=data.sop_instance_uid,
        traceparent=event.traceparent,
        data=InstanceValidatedData(
            **_facts(data),
            warnings=findings,
            released=entry is not None,
            quarantine=entry,
            replaces=replaces,
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
            **_facts(event.data),
            quarantine=entry,
            findings=decision.findings,
            reason=decision.reason,
            refused=decision.refused,
            disputes=decision.disputes,
        ),
    )


def refused_event(event: InstanceReceived, entry: UUID, decision: Held) -> InstanceDiscarded:
    """A check of this institution refuses it: it ends here, and nobody is asked."""
    data = event.data
    return InstanceDiscarded.of(
        id=caused_id(event.id, InstanceDiscarded.type_name(), data.sop_instance_uid),
        subject=data.sop_instance_uid,
        traceparent=event.traceparent,
        data=InstanceDiscardedData(
            source=data.source,
            study_uid=data.study_uid,
            sop_instance_uid=data.sop_instance_uid,
            lane=data.lane,
            quarantine=entry,
            reason=f"refused: {decision.reason}",
            actor="validation",
        ),
    )


def _duplicated_event(event: InstanceReceived, decision: Duplicated) -> InstanceDuplicated:
    return InstanceDuplicated.of(
        id=caused_id(event.id, InstanceDuplicated.type_name(), event.data.sop_instance_uid),
        subject=event.data.sop_instance_uid,
        traceparent=event.traceparent,
        data=InstanceDuplicatedData(**_facts(event.data), original=decision.original),
    )


def _remember_accepted(event: InstanceReceived, identity: Identity, decision: Accepted, known: Known) -> None:
    data, mine = event.data, decision.demographics
    study = (data.source, data.study_uid)
    before = known.studies.get(study)
    if before is None:
        known.studies[study] = known.new_studies[study] = mine
    elif before.temporary and not mine.temporary and mine.person:
        known.studies[study] = mine
        # who it is has come in: a study that this batch has begun is written with it, others are changed
        (known.new_studies if study in known.new_studies else known.known_studies)[study] = mine
    for person in person_keys_of(identity, mine):
        if person not in known.persons:
            issuer, patient_id = person
            known.persons[person] = known.new_persons[person] = replace(
                mine, issuer=issuer, patient_id=patient_id
            )
    instance = (data.source, data.sop_instance_uid)
    if decision.replaces is None:
        known.new_instances.append(instance_row(event))
    else:
        known.replaced.append(instance_row(event))
    known.accepted[instance] = Copy(event.id, data.digest, data.study_uid)
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
    if not decision.refused:
        known.waiting[key] = (*known.waiting.get(key, ()), Copy(event.id, data.digest, data.study_uid))
    known.new_judgements.append(_judgement(event, "refused" if decision.refused else "quarantined"))
    known.new_quarantine.append(
        {
            "id": entry,
            "source": data.source,
            "study_uid": data.study_uid,
            "sop_instance_uid": data.sop_instance_uid,
            "reason": decision.reason,
            "evidence": [finding.model_dump() for finding in decision.findings],
            "state": "refused" if decision.refused else "waiting",
            "decided_at": datetime.now(UTC) if decision.refused else None,
            "releasable": decision.releasable,
            "releaser": "nobody" if decision.refused else decision.releaser,
            "disputes": decision.disputes,
            "checks": list(decision.checks),
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
