"""Share events: what partners subscribe to.

They carry identifiers only, never patient data. `id` is the deduplication key; `sequence` orders the
events of one share and never repeats within it.
"""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field

from imex.events.envelope import Event, OdsCode, Priority, StudyPayload, schema_url

ShareState = Literal[
    "requested", "accepted", "collecting", "delivering", "delivered", "partial",
    "refused", "failed", "cancelled", "revoked", "expired",
]  # fmt: skip

FINAL_STATES: frozenset[ShareState] = frozenset({"refused", "failed", "cancelled", "revoked", "expired"})
"""States that a further passage leaves by a new episode. `delivered` is left by a late instance."""


class SharePayload(StudyPayload):
    """What every share event says."""

    share: UUID
    recipient: OdsCode
    state: ShareState
    priority: Priority
    purpose: str = "direct-care"
    sequence: int = Field(description="1, 2, … within the share")


class ShareRequested(Event[SharePayload]):
    """A study is addressed to a recipient."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.requested"] = "imex.share.requested"
    dataschema: str = schema_url("imex.share.requested")


class ShareAccepted(Event[SharePayload]):
    """An agreement covers it, and the recipient wants it."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.accepted"] = "imex.share.accepted"
    dataschema: str = schema_url("imex.share.accepted")


class ReasonPayload(SharePayload):
    """A share event with its reason."""

    reason: str


class ShareRefused(Event[ReasonPayload]):
    """Nothing leaves, and why."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.refused"] = "imex.share.refused"
    dataschema: str = schema_url("imex.share.refused")


class ShareFirstImageReceived(Event[SharePayload]):
    """The first image is confirmed at the destination."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.first_image_received"] = "imex.share.first_image_received"
    dataschema: str = schema_url("imex.share.first_image_received")


class ShareCompletedPayload(SharePayload):
    """How much was collected."""

    instances: int
    bytes: int


class ShareCompleted(Event[ShareCompletedPayload]):
    """Collecting has ended: the study counts as complete."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.completed"] = "imex.share.completed"
    dataschema: str = schema_url("imex.share.completed")


class ShareAttemptPayload(SharePayload):
    """One try to carry it."""

    endpoint: str
    attempt: int
    outcome: Literal["succeeded", "failed"]
    reason: str = ""


class ShareDeliveryAttempted(Event[ShareAttemptPayload]):
    """A try to deliver ended."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.delivery_attempted"] = "imex.share.delivery_attempted"
    dataschema: str = schema_url("imex.share.delivery_attempted")


class SharePartialPayload(SharePayload):
    """What is there and what is missing, in instances."""

    delivered: int
    missing: int
    reason: str = ""


class SharePartiallyDelivered(Event[SharePartialPayload]):
    """All that can be delivered is; something waits in quarantine or failed."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.partially_delivered"] = "imex.share.partially_delivered"
    dataschema: str = schema_url("imex.share.partially_delivered")


class ShareDeliveredPayload(SharePayload):
    """The proof."""

    receipt_digest: str
    revision: int


class ShareDelivered(Event[ShareDeliveredPayload]):
    """Every instance received is confirmed at the destination."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.delivered"] = "imex.share.delivered"
    dataschema: str = schema_url("imex.share.delivered")


class ShareFailed(Event[ReasonPayload]):
    """It could not be delivered and is not tried again by itself."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.failed"] = "imex.share.failed"
    dataschema: str = schema_url("imex.share.failed")


class ShareCancelled(Event[SharePayload]):
    """Called off before it was delivered."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.cancelled"] = "imex.share.cancelled"
    dataschema: str = schema_url("imex.share.cancelled")


class ShareRevoked(Event[SharePayload]):
    """Taken back: what has not been delivered is not going to be."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.revoked"] = "imex.share.revoked"
    dataschema: str = schema_url("imex.share.revoked")


class ShareExpired(Event[ReasonPayload]):
    """Its time ran out before it was delivered."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.expired"] = "imex.share.expired"
    dataschema: str = schema_url("imex.share.expired")


class ShareEscalatedPayload(ReasonPayload):
    """`priority` is the new one; both are the same where it could not be raised any further."""

    from_priority: Priority
    to_priority: Priority


class ShareEscalated(Event[ShareEscalatedPayload]):
    """It is not delivered when it should be: it overtakes others from now on, and people are told."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.escalated"] = "imex.share.escalated"
    dataschema: str = schema_url("imex.share.escalated")


class ShareViewedPayload(SharePayload):
    """Whose people looked at it."""

    by: OdsCode
    how: Literal["opened", "downloaded"] = "opened"


class ShareViewed(Event[ShareViewedPayload]):
    """Somebody of the recipient read it in an inbox; once for each account, way of reading and day."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.viewed"] = "imex.share.viewed"
    dataschema: str = schema_url("imex.share.viewed")


class ShareResultPayload(SharePayload):
    """What came back of it, and from whom: a share of the same study in the other direction."""

    by: OdsCode
    result: UUID = Field(description="id of the share that brought it")
    instances: int


class ShareResultReturned(Event[ShareResultPayload]):
    """Its recipient has sent something of the study back, and it has arrived at the source."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.result_returned"] = "imex.share.result_returned"
    dataschema: str = schema_url("imex.share.result_returned")


class ShareRecalledPayload(ReasonPayload):
    """What of it was taken back, and why."""

    correction: UUID
    code: Literal["113001", "113037", "113038", "113039"] = Field(
        description="DCM code of the rejection note's title, of CID 7010"
    )
    whole: bool = Field(description="all of it; else the instances that the note names")
    note_sop_instance_uid: str | None = Field(
        default=None, description="of the rejection note; none where the share was de-identified"
    )


class ShareRecalled(Event[ShareRecalledPayload]):
    """Its source takes images back: they must not be used any more."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.recalled"] = "imex.share.recalled"
    dataschema: str = schema_url("imex.share.recalled")


class ShareCorrectedPayload(ReasonPayload):
    """What kind of correction it is; what is right is in the portal, for those who may know."""

    correction: UUID
    correction_kind: Literal["demographics", "merge"]


class ShareCorrected(Event[ShareCorrectedPayload]):
    """Its source says that the person's data is wrong, or that two records are of one person."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.corrected"] = "imex.share.corrected"
    dataschema: str = schema_url("imex.share.corrected")


class ShareCorrectionAcknowledgedPayload(SharePayload):
    """Which correction."""

    correction: UUID


class ShareCorrectionAcknowledged(Event[ShareCorrectionAcknowledgedPayload]):
    """Somebody of the recipient has seen to a recall or a correction."""

    FAMILY: ClassVar[str] = "shares"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.share.correction_acknowledged"] = "imex.share.correction_acknowledged"
    dataschema: str = schema_url("imex.share.correction_acknowledged")
