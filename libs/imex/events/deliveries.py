"""What delivery says: attempts, what the destination confirmed, and how it ended."""

from typing import ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from imex.events.envelope import Event, OdsCode, schema_url
from imex.events.manifests import DeliveryPayload


class DeliveryAttemptedData(DeliveryPayload):
    """One try to carry what was left of a delivery."""

    attempt: int
    outcome: Literal["succeeded", "failed"]
    reason: str = Field(description="in words fit for a timeline; empty when it succeeded")
    started_at: AwareDatetime
    ended_at: AwareDatetime
    confirmed: int = Field(description="instances that this attempt got confirmed")
    next_attempt_at: AwareDatetime | None = None


class DeliveryAttempted(Event[DeliveryAttemptedData]):
    """A try ended."""

    FAMILY: ClassVar[str] = "deliveries"
    PRODUCER: ClassVar[str] = "delivery"
    type: Literal["imex.delivery.attempted"] = "imex.delivery.attempted"
    dataschema: str = schema_url("imex.delivery.attempted")


class InstanceOutcome(BaseModel):
    """What the destination said of one instance."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sop_instance_uid: str
    digest: str
    state: Literal["confirmed", "failed"]
    status: str = Field(description="the destination's own, for instance `0x0000`")
    reason: str = ""
    at: AwareDatetime


class DeliveryProgressedData(DeliveryPayload):
    """Outcomes of some instances, in batches."""

    outcomes: tuple[InstanceOutcome, ...] = Field(max_length=500)
    given_study_uid: str | None = Field(
        default=None, description="under which UID the recipient got the study, where it left de-identified"
    )


class DeliveryProgressed(Event[DeliveryProgressedData]):
    """The destination answered for some instances."""

    FAMILY: ClassVar[str] = "deliveries"
    PRODUCER: ClassVar[str] = "delivery"
    type: Literal["imex.delivery.progressed"] = "imex.delivery.progressed"
    dataschema: str = schema_url("imex.delivery.progressed")


class DeliveryCompletedData(DeliveryPayload):
    """Every instance of the closed manifest has an outcome that will not change by itself."""

    revision: int
    confirmed: int
    failed: int
    receipt_digest: str = Field(description="`sha256:` and hex over the receipt's RFC 8785 form")
    reason: str = Field(default="", description="what failed and why, when not all is confirmed")


class DeliveryCompleted(Event[DeliveryCompletedData]):
    """The receipt of a revision is written."""

    FAMILY: ClassVar[str] = "deliveries"
    PRODUCER: ClassVar[str] = "delivery"
    type: Literal["imex.delivery.completed"] = "imex.delivery.completed"
    dataschema: str = schema_url("imex.delivery.completed")


class DeliveryEndedData(DeliveryPayload):
    """The delivery was given up, and why."""

    outcome: Literal["failed", "expired", "cancelled"]
    confirmed: int
    reason: str


class DeliveryEnded(Event[DeliveryEndedData]):
    """The delivery goes no further without a person."""

    FAMILY: ClassVar[str] = "deliveries"
    PRODUCER: ClassVar[str] = "delivery"
    type: Literal["imex.delivery.ended"] = "imex.delivery.ended"
    dataschema: str = schema_url("imex.delivery.ended")


class DeliverySteeredData(DeliveryPayload):
    """What a person had done to a delivery, or to all that goes to its destination."""

    command: Literal["pause", "resume", "retry", "reroute"]
    whole_destination: bool = Field(default=False, description="it was asked of the whole destination")
    from_endpoint: str | None = Field(default=None, description="where it went before, of a reroute")
    reason: str = ""
    actor: str = Field(description="account that asked")
    actor_institution: OdsCode | None = None


class DeliverySteered(Event[DeliverySteeredData]):
    """A person held a delivery, let it go on, or sent it elsewhere."""

    FAMILY: ClassVar[str] = "deliveries"
    PRODUCER: ClassVar[str] = "delivery"
    type: Literal["imex.delivery.steered"] = "imex.delivery.steered"
    dataschema: str = schema_url("imex.delivery.steered")
