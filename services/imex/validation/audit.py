"""The audit records of validation."""

from typing import Final

from imex.events.audit import Actor, AuditAction, AuditRecorded, AuditRecordedData
from imex.events.commands import QuarantineCommanded
from imex.events.ids import caused_id, root_traceparent
from imex.events.instances import InstanceReceived

SERVICE: Final = "validation"


def audited(
    event: InstanceReceived, action: AuditAction, reason: str, command: QuarantineCommanded | None = None
) -> AuditRecorded:
    """What was done to an instance; with `command`, by the person who asked for it, or on schedule."""
    actor = Actor(kind="service", id=SERVICE)
    if command is not None and command.data.actor != SERVICE:
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
