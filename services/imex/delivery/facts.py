"""The events that delivery publishes, made from what it knows. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from imex.delivery.decide import Verdict
from imex.delivery.jobs import Job, Outcome
from imex.events import ids
from imex.events.audit import Actor, AuditRecorded, AuditRecordedData
from imex.events.commands import DeliveryCommandedData, DestinationCommandedData
from imex.events.deliveries import (
    DeliveryAttempted,
    DeliveryAttemptedData,
    DeliveryCompleted,
    DeliveryCompletedData,
    DeliveryEnded,
    DeliveryEndedData,
    DeliveryProgressed,
    DeliveryProgressedData,
    DeliverySteered,
    DeliverySteeredData,
    InstanceOutcome,
)

MAX_REASON = 500


def _about(job: Job) -> dict[str, Any]:
    return {
        "source": job.source,
        "study_uid": job.study_uid,
        "delivery": job.id,
        "share": job.share,
        "recipient": job.recipient,
        "endpoint": job.endpoint,
        "lane": job.lane,
    }


def attempted(
    job: Job, *, reason: str, ended_at: datetime, confirmed: int, next_attempt_at: datetime | None
) -> DeliveryAttempted:
    """An attempt ended; an empty `reason` says that it succeeded."""
    subject = str(job.id)
    return DeliveryAttempted.of(
        id=ids.caused_id(job.attempt_id, DeliveryAttempted.type_name(), subject),
        subject=subject,
        time=ended_at,
        traceparent=job.traceparent,
        data=DeliveryAttemptedData(
            **_about(job),
            attempt=job.attempt,
            outcome="failed" if reason else "succeeded",
            reason=reason[:MAX_REASON],
            started_at=job.started_at,
            ended_at=ended_at,
            confirmed=confirmed,
            next_attempt_at=next_attempt_at,
        ),
    )


def progressed(job: Job, outcomes: Sequence[Outcome], cause: UUID) -> DeliveryProgressed:
    """Outcomes of some instances. `cause` tells one batch from another."""
    subject = str(job.id)
    return DeliveryProgressed.of(
        id=ids.caused_id(cause, DeliveryProgressed.type_name(), subject),
        subject=subject,
        time=outcomes[-1].at,
        traceparent=job.traceparent,
        data=DeliveryProgressedData(
            **_about(job),
            outcomes=tuple(
                InstanceOutcome(
                    sop_instance_uid=outcome.instance.sop_instance_uid,
                    digest=outcome.instance.digest,
                    state="confirmed" if outcome.answer.verdict is Verdict.CONFIRMED else "failed",
                    status=outcome.answer.status,
                    reason=outcome.answer.reason[:MAX_REASON],
                    at=outcome.at,
                )
                for outcome in outcomes
            ),
            given_study_uid=next((one.given.given_study_uid for one in outcomes if one.given), None),
        ),
    )


def completed(
    job: Job, *, revision: int, confirmed: int, failed: int, receipt_digest: str, reason: str
) -> DeliveryCompleted:
    """The receipt of a revision is written."""
    subject = str(job.id)
    return DeliveryCompleted.of(
        id=ids.caused_id(job.id, DeliveryCompleted.type_name(), receipt_digest),
        subject=subject,
        traceparent=job.traceparent,
        data=DeliveryCompletedData(
            **_about(job),
            revision=revision,
            confirmed=confirmed,
            failed=failed,
            receipt_digest=receipt_digest,
            reason=reason[:MAX_REASON],
        ),
    )


def ended(
    job: Job, *, outcome: Literal["failed", "expired", "cancelled"], confirmed: int, reason: str, cause: UUID
) -> DeliveryEnded:
    """The delivery goes no further. `cause` is the event or the attempt that ended it."""
    subject = str(job.id)
    return DeliveryEnded.of(
        id=ids.caused_id(cause, DeliveryEnded.type_name(), subject),
        subject=subject,
        traceparent=job.traceparent,
        data=DeliveryEndedData(
            **_about(job), outcome=outcome, confirmed=confirmed, reason=reason[:MAX_REASON]
        ),
    )


def steered(
    job: Job,
    data: DeliveryCommandedData | DestinationCommandedData,
    *,
    cause: UUID,
    at: datetime,
    before: str | None = None,
) -> DeliverySteered:
    """What a person had done to a delivery. The same `cause` says it of a delivery once."""
    assert data.command != "cancel"  # whose end says so
    subject = str(job.id)
    return DeliverySteered.of(
        id=ids.caused_id(cause, DeliverySteered.type_name(), subject),
        subject=subject,
        time=at,
        traceparent=job.traceparent,
        data=DeliverySteeredData(
            **_about(job),
            command=data.command,
            whole_destination=isinstance(data, DestinationCommandedData),
            from_endpoint=before,
            reason=data.reason[:MAX_REASON],
            actor=data.actor,
            actor_institution=data.actor_institution,
        ),
    )


def sent(
    job: Job,
    *,
    ae_title: str,
    confirmed: int,
    failed: int,
    reason: str,
    ended_at: datetime,
    changes: Sequence[str] = (),
    taken: int = 0,
) -> AuditRecorded:
    """For the audit record: an attempt carried images to the recipient."""
    subject = str(job.share)
    event = AuditRecorded.of(
        id=ids.caused_id(job.attempt_id, AuditRecorded.type_name(), subject),
        subject=subject,
        time=ended_at,
        traceparent=job.traceparent,
        data=AuditRecordedData(
            action="instances_sent",
            outcome="failure" if reason else "success",
            actor=Actor(kind="service", id="delivery"),
            study_uid=job.study_uid,
            source=job.source,
            recipient=job.recipient,
            share=job.share,
            agreement=job.agreement,
            reason=reason[:MAX_REASON],
            counts={"confirmed": confirmed, "failed": failed, **({"sent": taken} if taken else {})},
            details={
                "delivery": str(job.id),
                "endpoint": job.endpoint,
                "ae_title": ae_title,
                "attempt": str(job.attempt),
                **({"changes": "; ".join(changes)} if changes else {}),
            },
        ),
    )
    return event.model_copy(update={"source": "/imex/delivery"})
