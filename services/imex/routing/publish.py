"""From a share and what happened to it to the events that say so. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from imex.directory import discreet
from imex.events import Event, Priority, ids, shares
from imex.events.audit import Actor, AuditAction, AuditRecorded, AuditRecordedData
from imex.events.manifests import (
    HeldInstance,
    ManifestAnnotated,
    ManifestAnnotatedData,
    ManifestClosed,
    ManifestClosedData,
    ManifestInstance,
    ManifestIssued,
    ManifestIssuedData,
    ManifestPrioritised,
    ManifestPrioritisedData,
    ManifestWithdrawn,
    ManifestWithdrawnData,
)
from imex.events.shares import ShareState
from imex.sharing.model import Share

SERVICE = "routing"
_HELD_IN_EVENT = 500


def service(name: str = SERVICE) -> Actor:
    """A service as the one who acts."""
    return Actor(kind="service", id=name)


def institution(code: str) -> Actor:
    """An institution as the one who acts."""
    return Actor(kind="institution", id=code, institution=code)


def person(account: str, institution: str | None = None) -> Actor:
    """A person as the one who acts."""
    return Actor(kind="person", id=account, institution=institution)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something happens: the event or the look that brought it about."""

    id: UUID
    at: datetime
    actor: Actor = field(default_factory=service)
    traceparent: str | None = None
    """Of the span in which it is decided; None: the study's root."""

    @property
    def who(self) -> str:
        """The actor as timelines name it."""
        if self.actor.institution and self.actor.institution != self.actor.id:
            return f"{self.actor.id} ({self.actor.institution})"
        return self.actor.id


def _said(share: Share) -> dict[str, Any]:
    return {
        "source": share.source,
        "study_uid": share.study_uid,
        "share": share.id,
        "recipient": share.recipient,
        "state": share.state,
        "priority": share.current_priority,
        "purpose": share.purpose,
        "sequence": share.sequence,
    }


def _plain(cls: type[Event[shares.SharePayload]]) -> "_Builder":
    return lambda share, _more: (cls, shares.SharePayload(**_said(share)))


def _reasoned(cls: type[Event[shares.ReasonPayload]]) -> "_Builder":
    return lambda share, _more: (cls, shares.ReasonPayload(**_said(share), reason=discreet(share.reason)))


_Builder = Callable[[Share, Mapping[str, Any]], tuple[type[Event[Any]], shares.SharePayload]]

Announcement = Literal[
    "requested", "accepted", "refused", "first_image_received", "completed", "delivery_attempted",
    "partial", "delivered", "failed", "cancelled", "revoked", "expired", "escalated", "viewed",
    "result_returned",
    "recalled", "corrected", "correction_acknowledged",
]  # fmt: skip

_BUILDERS: Mapping[Announcement, _Builder] = {
    "requested": _plain(shares.ShareRequested),
    "accepted": _plain(shares.ShareAccepted),
    "refused": _reasoned(shares.ShareRefused),
    "first_image_received": _plain(shares.ShareFirstImageReceived),
    "completed": lambda share, more: (
        shares.ShareCompleted,
        shares.ShareCompletedPayload(**_said(share), instances=more["instances"], bytes=more["bytes"]),
    ),
    "delivery_attempted": lambda share, more: (
        shares.ShareDeliveryAttempted,
        shares.ShareAttemptPayload(
            **_said(share),
            endpoint=more["endpoint"],
            attempt=more["attempt"],
            outcome=more["outcome"],
            reason=more["reason"],
        ),
    ),
    "partial": lambda share, more: (
        shares.SharePartiallyDelivered,
        shares.SharePartialPayload(
            **_said(share), delivered=share.confirmed, missing=more["missing"], reason=share.reason
        ),
    ),
    "delivered": lambda share, _more: (
        shares.ShareDelivered,
        shares.ShareDeliveredPayload(
            **_said(share),
            receipt_digest=share.receipt_digest or "",
            revision=share.receipt_revision or share.delivery_revision,
        ),
    ),
    "failed": _reasoned(shares.ShareFailed),
    "cancelled": _plain(shares.ShareCancelled),
    "revoked": _plain(shares.ShareRevoked),
    "expired": _reasoned(shares.ShareExpired),
    "escalated": lambda share, more: (
        shares.ShareEscalated,
        shares.ShareEscalatedPayload(
            **_said(share), reason=more["reason"], from_priority=more["from"], to_priority=more["to"]
        ),
    ),
    "result_returned": lambda share, more: (
        shares.ShareResultReturned,
        shares.ShareResultPayload(
            **_said(share), by=more["by"], result=more["share"], instances=more["instances"]
        ),
    ),
    "viewed": lambda share, more: (
        shares.ShareViewed,
        shares.ShareViewedPayload(**_said(share), by=more["by"], how=more["how"]),
    ),
    "recalled": lambda share, more: (
        shares.ShareRecalled,
        shares.ShareRecalledPayload(**_said(share), **more),
    ),
    "corrected": lambda share, more: (
        shares.ShareCorrected,
        shares.ShareCorrectedPayload(**_said(share), **more),
    ),
    "correction_acknowledged": lambda share, more: (
        shares.ShareCorrectionAcknowledged,
        shares.ShareCorrectionAcknowledgedPayload(**_said(share), **more),
    ),
}

ANNOUNCED_STATES: Mapping[ShareState, Announcement] = {
    "requested": "requested",
    "accepted": "accepted",
    "refused": "refused",
    "partial": "partial",
    "delivered": "delivered",
    "failed": "failed",
    "cancelled": "cancelled",
    "revoked": "revoked",
    "expired": "expired",
}
"""States whose being reached partners are told. `collecting` and `delivering` are our own affair."""

_AUDITED: Mapping[ShareState, tuple[AuditAction, Literal["success", "refused", "failure"]]] = {
    "requested": ("share_requested", "success"),
    "accepted": ("share_accepted", "success"),
    "refused": ("share_refused", "refused"),
    "delivered": ("share_delivered", "success"),
    "failed": ("share_failed", "failure"),
    "cancelled": ("share_cancelled", "success"),
    "revoked": ("share_revoked", "success"),
    "expired": ("share_expired", "failure"),
}


def share_event(
    announcement: Announcement, share: Share, cause: Cause, more: Mapping[str, Any] | None = None
) -> Event[Any]:
    """What partners are told. `share` already has the sequence of this event."""
    cls, data = _BUILDERS[announcement](share, more or {})
    return cls.of(
        id=ids.derived("event", str(cause.id), cls.type_name(), str(share.id), str(share.sequence)),
        subject=f"share/{share.id}",
        data=data,
        time=cause.at,
        traceparent=_traceparent(share, cause),
    )


def audit_of(share: Share, cause: Cause) -> AuditRecorded | None:
    """The audit record of a share's having reached its state; None where that is not audited."""
    audited = _AUDITED.get(share.state)
    if audited is None:
        return None
    action, outcome = audited
    return share_audited(
        share,
        action,
        cause,
        outcome=outcome,
        legal_basis=share.legal_basis,
        agreement=share.agreement,
        reason=share.reason,
        counts={"confirmed": share.confirmed, "handed": share.handed} if share.handed else {},
        details={
            "directory_version": share.directory_version,
            **({"rule": share.rule} if share.rule else {}),
        },
    )


def escalation_audited(share: Share, before: Priority, reason: str, cause: Cause) -> AuditRecorded:
    """The audit record of a share's having become more urgent, or of people's having been told."""
    details = {"from": before, "to": share.current_priority}
    return share_audited(share, "share_escalated", cause, reason=reason, details=details)


def share_audited(
    share: Share,
    action: AuditAction,
    cause: Cause,
    *,
    outcome: Literal["success", "refused", "failure"] = "success",
    **said: Any,
) -> AuditRecorded:
    """The audit record of something that was done to a share; `said` beside whose it is and what for."""
    return AuditRecorded.of(
        id=ids.derived("audit", str(cause.id), action, str(share.id)),
        subject=f"share/{share.id}",
        time=cause.at,
        traceparent=_traceparent(share, cause),
        data=AuditRecordedData(
            action=action,
            outcome=outcome,
            actor=cause.actor,
            study_uid=share.study_uid,
            source=share.source,
            recipient=share.recipient,
            share=share.id,
            purpose=share.purpose,
            **said,
        ),
    )


def manifest_prioritised(share: Share, reason: str, cause: Cause) -> ManifestPrioritised:
    """How urgent the delivery is from now on."""
    delivery = _delivery(share)
    return ManifestPrioritised.of(
        id=ids.derived("manifest prioritised", str(delivery["delivery"]), share.current_priority),
        subject=f"delivery/{delivery['delivery']}",
        time=cause.at,
        traceparent=_traceparent(share, cause),
        data=ManifestPrioritisedData(**delivery, priority=share.current_priority, reason=reason),
    )


def manifest_rested(share: Share, cause: Cause) -> ManifestIssued:
    """No part of the manifest: it names the agreement on which all of them rest from now on."""
    name = ids.derived("manifest rested", str(share.id), share.directory_version, str(share.agreement))
    return _issued(share, 0, (), share.directory_version, cause, name)


def manifest_part(
    share: Share, part: int, instances: Sequence[ManifestInstance], version: str, cause: Cause
) -> ManifestIssued:
    """One part of a share's manifest; they count from 1."""
    name = ids.derived("manifest", str(ids.delivery_id(share.id, share.endpoint or "")), str(part))
    return _issued(share, part, instances, version, cause, name)


def _issued(  # noqa: PLR0917  what it says
    share: Share, part: int, instances: Sequence[ManifestInstance], version: str, cause: Cause, name: UUID
) -> ManifestIssued:
    delivery = _delivery(share)
    return ManifestIssued.of(
        id=name,
        subject=f"delivery/{delivery['delivery']}",
        time=cause.at,
        traceparent=_traceparent(share, cause),
        data=ManifestIssuedData(
            **delivery,
            part=part,
            priority=share.current_priority,
            directory_version=version,
            agreement=share.agreement,
            instances=tuple(instances),
        ),
    )


def manifest_annotated(
    share: Share, held: Sequence[HeldInstance], cause: Cause, *, early: bool = False
) -> list[ManifestAnnotated]:
    """What the manifest lacks in the share's revision, in events of a bounded size.

    An early one comes before the closing: what is in dispute is not to be sent meanwhile.
    """
    delivery = _delivery(share)
    what = f"manifest annotated early/{cause.id}" if early else "manifest annotated"
    return [
        ManifestAnnotated.of(
            id=ids.derived(what, str(delivery["delivery"]), str(share.delivery_revision), str(first)),
            subject=f"delivery/{delivery['delivery']}",
            time=cause.at,
            traceparent=_traceparent(share, cause),
            data=ManifestAnnotatedData(
                **delivery,
                revision=share.delivery_revision,
                instances=tuple(held[first : first + _HELD_IN_EVENT]),
            ),
        )
        for first in range(0, len(held), _HELD_IN_EVENT)
    ]


def manifest_closed(share: Share, cause: Cause) -> ManifestClosed:
    """The manifest is whole, in the share's revision."""
    delivery = _delivery(share)
    return ManifestClosed.of(
        id=ids.derived("manifest closed", str(delivery["delivery"]), str(share.delivery_revision)),
        subject=f"delivery/{delivery['delivery']}",
        time=cause.at,
        traceparent=_traceparent(share, cause),
        data=ManifestClosedData(
            **delivery, revision=share.delivery_revision, parts=share.parts, instances=share.handed
        ),
    )


def manifest_withdrawn(share: Share, cause: Cause) -> ManifestWithdrawn:
    """Nothing more of it may leave."""
    delivery = _delivery(share)
    return ManifestWithdrawn.of(
        id=ids.derived("manifest withdrawn", str(delivery["delivery"])),
        subject=f"delivery/{delivery['delivery']}",
        time=cause.at,
        traceparent=_traceparent(share, cause),
        data=ManifestWithdrawnData(**delivery, reason=share.reason),
    )


def _delivery(share: Share) -> dict[str, Any]:
    assert share.endpoint is not None, "an endpoint is chosen before anything is handed over"
    return {
        "source": share.source,
        "study_uid": share.study_uid,
        "delivery": ids.delivery_id(share.id, share.endpoint),
        "share": share.id,
        "recipient": share.recipient,
        "endpoint": share.endpoint,
        "lane": share.lane,
    }


def _traceparent(share: Share, cause: Cause) -> str:
    return cause.traceparent or ids.root_traceparent(share.source, share.study_uid)
