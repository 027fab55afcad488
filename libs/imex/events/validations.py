"""What validation says: each instance accepted, held back, or known already."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from imex.events.envelope import Event, Lane, StudyPayload, schema_url
from imex.events.instances import AssociationCounts, InstanceFacts


class Finding(BaseModel):
    """One thing that a check found, in words that name no patient."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    check: str
    message: str


class RejectedInstance(BaseModel):
    """An instance that its sender takes back."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str


class RejectionFacts(BaseModel):
    """What a rejection note says (IHE RAD TF-2 4.66): a key object selection with such a title."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: Literal["113001", "113037", "113038", "113039"] = Field(description="DCM code of its title")
    instances: tuple[RejectedInstance, ...] = Field(max_length=10_000, description="of the note's own study")


class InstanceValidatedData(InstanceFacts):
    """An accepted instance with the findings that were only warnings."""

    warnings: tuple[Finding, ...] = ()
    released: bool = Field(default=False, description="a person let it out of quarantine")
    quarantine: UUID | None = Field(default=None, description="the entry it was released from")
    replaces: UUID | None = Field(
        default=None,
        description="id of the instance.received whose place it takes for what is not delivered yet",
    )
    rejection: RejectionFacts | None = Field(
        default=None, description="what it takes back; it is a rejection note then"
    )


class InstanceValidated(Event[InstanceValidatedData]):
    """An instance was accepted."""

    FAMILY: ClassVar[str] = "validations"
    PRODUCER: ClassVar[str] = "validation"
    type: Literal["imex.instance.validated"] = "imex.instance.validated"
    dataschema: str = schema_url("imex.instance.validated")


class InstanceQuarantinedData(InstanceFacts):
    """A held instance and why it is held."""

    quarantine: UUID = Field(description="the quarantine entry")
    findings: tuple[Finding, ...]
    reason: str = Field(description="the findings in one sentence, without patient data")
    refused: bool = Field(default=False, description="it goes no further, and nobody can release it")
    disputes: UUID | None = Field(
        default=None,
        description="id of the accepted instance.received that is not to leave either until a person decides",
    )


class InstanceQuarantined(Event[InstanceQuarantinedData]):
    """An instance waits for a person."""

    FAMILY: ClassVar[str] = "validations"
    PRODUCER: ClassVar[str] = "validation"
    type: Literal["imex.instance.quarantined"] = "imex.instance.quarantined"
    dataschema: str = schema_url("imex.instance.quarantined")


class InstanceDuplicatedData(InstanceFacts):
    """The same bytes again."""

    original: UUID = Field(description="id of the instance.received that came first")


class InstanceDuplicated(Event[InstanceDuplicatedData]):
    """An instance that was already accepted came again, with the same digest."""

    FAMILY: ClassVar[str] = "validations"
    PRODUCER: ClassVar[str] = "validation"
    type: Literal["imex.instance.duplicated"] = "imex.instance.duplicated"
    dataschema: str = schema_url("imex.instance.duplicated")


class InstanceDiscardedData(StudyPayload):
    """A held instance that will not go on."""

    sop_instance_uid: str
    lane: Lane
    quarantine: UUID
    reason: str
    actor: str = Field(description="account that decided")


class InstanceDiscarded(Event[InstanceDiscardedData]):
    """A person decided that a held instance goes no further."""

    FAMILY: ClassVar[str] = "validations"
    PRODUCER: ClassVar[str] = "validation"
    type: Literal["imex.instance.discarded"] = "imex.instance.discarded"
    dataschema: str = schema_url("imex.instance.discarded")


class AssociationValidatedData(AssociationCounts):
    """What became of the instances of one association."""

    outcome: Literal["released", "aborted", "lost", "timed out"]
    received: int
    accepted: int
    quarantined: int
    duplicated: int


class AssociationValidated(Event[AssociationValidatedData]):
    """Everything of a study that came in one association has been judged."""

    FAMILY: ClassVar[str] = "validations"
    PRODUCER: ClassVar[str] = "validation"
    type: Literal["imex.association.validated"] = "imex.association.validated"
    dataschema: str = schema_url("imex.association.validated")


class StudyDisposedData(StudyPayload):
    """What was given up of a study."""

    lane: Lane
    received_through: AwareDatetime
    instances: int = Field(description="payloads that are being deleted, also of repeats and discarded ones")


class StudyDisposed(Event[StudyDisposedData]):
    """A study's payloads are being deleted as its retention has ended; sent again, it is new."""

    FAMILY: ClassVar[str] = "validations"
    PRODUCER: ClassVar[str] = "validation"
    type: Literal["imex.study.disposed"] = "imex.study.disposed"
    dataschema: str = schema_url("imex.study.disposed")


class StudyKeptData(StudyPayload):
    """Why a study's payloads were not deleted."""

    lane: Lane
    reason: str


class StudyKept(Event[StudyKeptData]):
    """More of a study came in, or waits for a person: its payloads stay."""

    FAMILY: ClassVar[str] = "validations"
    PRODUCER: ClassVar[str] = "validation"
    type: Literal["imex.study.kept"] = "imex.study.kept"
    dataschema: str = schema_url("imex.study.kept")
