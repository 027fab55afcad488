"""The audit records that the portal itself is the source of: who saw and searched what."""

from typing import Any, Literal
from uuid import UUID, uuid4

from imex.db import UnitOfWork
from imex.events.audit import AuditAction, AuditRecorded, AuditRecordedData
from imex.events.ids import root_traceparent
from imex.portal.scope import Caller


def record(
    unit: UnitOfWork,
    caller: Caller,
    action: AuditAction,
    *,
    source: str | None = None,
    study_uid: str | None = None,
    recipient: str | None = None,
    share: UUID | None = None,
    outcome: Literal["success", "refused", "failure"] = "success",
    **more: Any,
) -> None:
    """Put a record into the outbox of `unit`: it is kept when, and only when, the unit commits.

    Call it before anything is shown; nothing is shown unless the unit has committed.
    """
    details: dict[str, str] = {"via": caller.kind, **more.pop("details", {})}
    if caller.kind == "token":
        details["token"] = caller.id
    if caller.kind == "ae":
        details["ae_title"] = caller.label
    if caller.kind == "account":
        # who a person is by name can be erased from the trail; the account's id stays
        more["personal"] = {"user": caller.label, **more.get("personal", {})}
    data = AuditRecordedData(
        action=action,
        outcome=outcome,
        actor=caller.actor,
        source=source,
        study_uid=study_uid,
        recipient=recipient,
        share=share,
        details=details,
        **more,
    )
    about_study = source is not None and study_uid is not None
    unit.publish(
        AuditRecorded.of(
            id=uuid4(),
            subject=str(share) if share else f"{source}/{study_uid}" if about_study else action,
            data=data,
            traceparent=root_traceparent(source, study_uid) if source and study_uid else None,
        )
    )
