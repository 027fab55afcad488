"""What ingest says: instances that are safe, and associations that have ended."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from imex.events.envelope import Event, Lane, StudyPayload, schema_url
from imex.events.sealed import Sealed


class PixelFacts(BaseModel):
    """Length of native pixel data against what the header promises, in bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    present: bool = False
    length: int | None = Field(default=None, description="None when encapsulated")
    expected: int | None = Field(default=None, description="None when it cannot be told")


class ConformanceFacts(BaseModel):
    """What of the data set is not as PS3.3 and PS3.5 have it: keywords of attributes, never values."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    missing: tuple[str, ...] = Field(default=(), description="of Type 1, absent or empty")
    absent: tuple[str, ...] = Field(default=(), description="of Type 2, absent")
    malformed: tuple[str, ...] = Field(default=(), description="not of the form of their VR")
    odd: tuple[str, ...] = Field(default=(), description="of odd length")
    oddities: tuple[str, ...] = Field(default=(), description="in words, such as undecodable text")


class InstanceFacts(StudyPayload):
    """One instance: where its payload is and what its header says, without patient data."""

    series_uid: str
    sop_instance_uid: str = Field(description="of the C-STORE command, or of the STOW data set")
    sop_class_uid: str
    transfer_syntax: str
    modality: str = ""
    body_part: str = ""
    object_key: str = Field(description="`<institution>/<date>/<uuid7>` in the payload bucket")
    size: int = Field(description="bytes of the encoded data set")
    digest: str = Field(description="`sha256:` and hex of the encoded data set, without meta")
    lane: Lane
    association: UUID = Field(description="the association or request that it came in")
    received_at: AwareDatetime
    calling_ae: str = ""
    called_ae: str = ""
    recipient: str | None = Field(default=None, description="explicit recipient, else the standing rules")
    directory_version: str = Field(description="the directory that judged the sender")
    identity: Sealed
    stated_instances: int | None = Field(
        default=None, description="instances of the study as the sender states them (0020,1208)"
    )
    referenced_studies: tuple[str, ...] = Field(
        default=(), max_length=32, description="other studies that it refers to, as evidence for instance"
    )
    retrieved: bool = Field(
        default=False, description="Imex has fetched it to answer a request: nobody sent it to the rules"
    )


class InstanceReceivedData(InstanceFacts):
    """As received, before anyone has judged it."""

    dataset_sop_instance_uid: str = Field(description="(0008,0018) as the data set says, to compare")
    dataset_sop_class_uid: str = ""
    dataset_study_uid: str = Field(description="(0020,000D) as the data set says; may be malformed")
    pixels: PixelFacts = PixelFacts()
    problem: str | None = Field(default=None, description="why the data set cannot be read, in words")
    conformance: ConformanceFacts = ConformanceFacts()
    burned_in: str = Field(default="", description="Burned In Annotation (0028,0301)")


class InstanceReceived(Event[InstanceReceivedData]):
    """An instance is in the object store and its sender may forget about it."""

    FAMILY: ClassVar[str] = "instances"
    PRODUCER: ClassVar[str] = "ingest"
    type: Literal["imex.instance.received"] = "imex.instance.received"
    dataschema: str = schema_url("imex.instance.received")


class AssociationCounts(StudyPayload):
    """What one association brought of one study."""

    association: UUID
    lane: Lane
    calling_ae: str = ""
    called_ae: str = ""


class AssociationEndedData(AssociationCounts):
    """Counts of one study in one association, as ingest saw them."""

    outcome: Literal["released", "aborted", "lost", "timed out"]
    received: int = Field(description="instances answered with SUCCESS")
    refused: int = Field(description="instances answered with a failure")
    started_at: AwareDatetime


class AssociationEnded(Event[AssociationEndedData]):
    """No more of this study comes in this association. One event for each study it carried."""

    FAMILY: ClassVar[str] = "instances"
    PRODUCER: ClassVar[str] = "ingest"
    type: Literal["imex.association.ended"] = "imex.association.ended"
    dataschema: str = schema_url("imex.association.ended")
