"""What routing hands to delivery: manifests, in parts."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from imex.events.envelope import Event, Lane, OdsCode, Priority, StudyPayload, schema_url


class ManifestInstance(BaseModel):
    """One instance to carry."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax: str
    object_key: str
    size: int
    digest: str


class DeliveryPayload(StudyPayload):
    """Data about one delivery of one share."""

    delivery: UUID
    share: UUID
    recipient: OdsCode
    endpoint: str = Field(description="the endpoint's name in the recipient's directory entry")
    lane: Lane


class ManifestIssuedData(DeliveryPayload):
    """A part of a manifest; parts count from 1 and only grow. 0 says only what all of them rest on."""

    part: int
    priority: Priority
    directory_version: str
    agreement: str | None = Field(default=None, description="that allowed the share, by its id")
    instances: tuple[ManifestInstance, ...] = Field(max_length=500)


class ManifestIssued(Event[ManifestIssuedData]):
    """Delivery may carry these instances now."""

    FAMILY: ClassVar[str] = "manifests"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.manifest.issued"] = "imex.manifest.issued"
    dataschema: str = schema_url("imex.manifest.issued")


class HeldInstance(BaseModel):
    """One instance of the study that came to quarantine, so that the recipient does not get it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    quarantine: UUID
    sop_instance_uid: str
    became: Literal["held", "discarded", "released"]
    reason: str
    at: AwareDatetime
    disputes: bool = Field(default=False, description="while held, the manifest's copy is not sent either")


class ManifestAnnotatedData(DeliveryPayload):
    """Comes before the closing of `revision`; each entry replaces what was said of it before."""

    revision: int
    instances: tuple[HeldInstance, ...] = Field(max_length=500)


class ManifestAnnotated(Event[ManifestAnnotatedData]):
    """What the manifest lacks: the receipt has to name it, and must not call itself complete."""

    FAMILY: ClassVar[str] = "manifests"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.manifest.annotated"] = "imex.manifest.annotated"
    dataschema: str = schema_url("imex.manifest.annotated")


class ManifestClosedData(DeliveryPayload):
    """The manifest is whole.

    A late instance issues a further part and closes a new revision; so does one that comes to quarantine
    or is discarded there.
    """

    revision: int
    parts: int
    instances: int


class ManifestClosed(Event[ManifestClosedData]):
    """The manifest of a delivery is whole, so it can be completed and given its receipt."""

    FAMILY: ClassVar[str] = "manifests"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.manifest.closed"] = "imex.manifest.closed"
    dataschema: str = schema_url("imex.manifest.closed")


class ManifestWithdrawnData(DeliveryPayload):
    """Nothing more of it may leave."""

    reason: str


class ManifestWithdrawn(Event[ManifestWithdrawnData]):
    """The share was cancelled or revoked: what has not been sent is not to be sent."""

    FAMILY: ClassVar[str] = "manifests"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.manifest.withdrawn"] = "imex.manifest.withdrawn"
    dataschema: str = schema_url("imex.manifest.withdrawn")


class ManifestPrioritisedData(DeliveryPayload):
    """How urgent the delivery is from now on; it is never less urgent than before."""

    priority: Priority
    reason: str = Field(description="in words, for people")


class ManifestPrioritised(Event[ManifestPrioritisedData]):
    """The share's objective is at risk: its delivery overtakes those that are less urgent.

    It is in the lane of the manifest's parts, behind them.
    """

    FAMILY: ClassVar[str] = "manifests"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.manifest.prioritised"] = "imex.manifest.prioritised"
    dataschema: str = schema_url("imex.manifest.prioritised")
