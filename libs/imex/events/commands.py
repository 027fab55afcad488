"""What people ask for through the portal, the API or the command line."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from imex.events.envelope import Event, OdsCode, Payload, Priority, StudyPayload, schema_url
from imex.events.sealed import Sealed


class ShareCommandedData(StudyPayload):
    """A wish about one share; routing decides."""

    command: Literal["create", "accept", "refuse", "cancel", "revoke", "complete"]
    share: UUID | None = Field(default=None, description="None when it is to be created")
    recipient: OdsCode
    purpose: str = "direct-care"
    priority: Priority = "routine"
    endpoint: str | None = None
    reference: str | None = None
    note: Sealed | None = None
    clinician: str | None = Field(default=None, description="at the recipient, whom it is for")
    reason: str = ""
    actor: str = Field(description="account that asked")
    actor_institution: OdsCode | None = None


class ShareCommanded(Event[ShareCommandedData]):
    """Somebody with the right to ask asked something of a share."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.share.commanded"] = "imex.share.commanded"
    dataschema: str = schema_url("imex.share.commanded")


class QuarantineCommandedData(StudyPayload):
    """A decision on a quarantine entry."""

    command: Literal["release", "discard"]
    quarantine: UUID
    reason: str
    actor: str
    actor_institution: OdsCode | None = None


class QuarantineCommanded(Event[QuarantineCommandedData]):
    """A person decided what becomes of a held instance."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.quarantine.commanded"] = "imex.quarantine.commanded"
    dataschema: str = schema_url("imex.quarantine.commanded")


class IdentifierCommandedData(Payload):
    """A wish about which of a recipient's own identifiers stands for one of a sender's."""

    command: Literal["add", "remove"]
    identifier: UUID = Field(description="of the mapping")
    recipient: OdsCode
    identifier_kind: Literal["patient", "accession"]
    sender: OdsCode
    sealed: Sealed | None = Field(
        default=None, description="issuer, value, own, name and birth_date; None when it is removed"
    )
    reason: str = ""
    actor: str
    actor_institution: OdsCode | None = None

    def routing_key(self) -> str:
        """Wishes of one recipient stay in order."""
        return f"identifiers/{self.recipient}"


class IdentifierCommanded(Event[IdentifierCommandedData]):
    """Somebody with the right to ask asked something of a mapping of identifiers."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.identifier.commanded"] = "imex.identifier.commanded"
    dataschema: str = schema_url("imex.identifier.commanded")


class MarkCommandedData(Payload):
    """What is to be marked of a person's record."""

    mark: UUID = Field(description="of this mark; what `person` is sealed for")
    person: Sealed = Field(description="issuer and patient_id")
    opted_out: bool = Field(description="of the national data opt-out")
    sensitive: bool
    reason: str = ""
    actor: str
    actor_institution: OdsCode | None = None

    def routing_key(self) -> str:
        """All in one order: a key of a person's own would tell who it is."""
        return "marks"


class MarkCommanded(Event[MarkCommandedData]):
    """An administrator marked a person's record, or took a mark away."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.mark.commanded"] = "imex.mark.commanded"
    dataschema: str = schema_url("imex.mark.commanded")


class LinkCommandedData(StudyPayload):
    """Who the person behind a study's temporary identity is."""

    link: UUID = Field(description="of this link; what `person` is sealed for")
    person: Sealed = Field(description="issuer and patient_id")
    reason: str = ""
    actor: str
    actor_institution: OdsCode | None = None


class LinkCommanded(Event[LinkCommandedData]):
    """Somebody of the source said who it is; validation keeps the link, routing goes by it."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.link.commanded"] = "imex.link.commanded"
    dataschema: str = schema_url("imex.link.commanded")


class NumberCommandedData(Payload):
    """What tracing has found of an NHS number."""

    number: UUID = Field(description="of this command; what `traced` is sealed for")
    traced: Sealed = Field(description="nhs_number and superseded_by")
    tracing: Literal["traced", "not-traced", "superseded"]
    actor: str
    actor_institution: OdsCode | None = None

    def routing_key(self) -> str:
        """All in one order: a key of a person's own would tell who it is."""
        return "numbers"


class NumberCommanded(Event[NumberCommandedData]):
    """An administrator entered what tracing has found of an NHS number."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.number.commanded"] = "imex.number.commanded"
    dataschema: str = schema_url("imex.number.commanded")


class HoldCommandedData(StudyPayload):
    """A wish about whether a study's payloads may be deleted on schedule."""

    command: Literal["place", "lift"]
    reason: str
    actor: str
    actor_institution: OdsCode | None = None


class HoldCommanded(Event[HoldCommandedData]):
    """Somebody with the right to ask placed a study under legal hold, or lifted all that hold it."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.hold.commanded"] = "imex.hold.commanded"
    dataschema: str = schema_url("imex.hold.commanded")


class CorrectionCommandedData(StudyPayload):
    """What is wrong with a study that was shared, or that a recipient has seen to it."""

    command: Literal["open", "acknowledge"]
    correction: UUID = Field(description="of this correction; what `person` is sealed for")
    correction_kind: Literal["recall", "demographics", "merge"] = "recall"
    code: Literal["113001", "113037", "113038", "113039"] | None = Field(
        default=None, description="of a recall: DCM code of the rejection note's title, of CID 7010"
    )
    instances: tuple[str, ...] = Field(
        default=(), max_length=10_000, description="SOP Instance UIDs that are recalled; empty: all"
    )
    person: Sealed | None = Field(default=None, description="what is right of the person, and what was wrong")
    recipient: OdsCode | None = Field(default=None, description="who acknowledges")
    reason: str = ""
    actor: str
    actor_institution: OdsCode | None = None


class CorrectionCommanded(Event[CorrectionCommandedData]):
    """The source takes back what was shared, or corrects it; or a recipient has seen to it."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.correction.commanded"] = "imex.correction.commanded"
    dataschema: str = schema_url("imex.correction.commanded")


class SubjectStudy(BaseModel):
    """A study of the person."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    source: OdsCode
    study_uid: str
    kept: str = Field(
        default="", description="why its images and its identity stay, in words; empty: they go"
    )


class SubjectCommandedData(Payload):
    """What a person asks of the network: to know, to be erased, to be put right."""

    command: Literal["report", "erase", "rectify"]
    subject: UUID = Field(description="of this command; what `person` and `right` are sealed for")
    person: Sealed = Field(description="issuer and patient_id")
    right: Sealed | None = Field(default=None, description="of a rectification: what is right")
    studies: tuple[SubjectStudy, ...] = Field(default=(), max_length=5000)
    facts: tuple[UUID, ...] = Field(
        default=(), max_length=5000, description="audit records in which the person is named as who acted"
    )
    objects: tuple[str, ...] = Field(
        default=(), max_length=5000, description="keys of objects to delete that are no payloads"
    )
    actor: str
    actor_institution: OdsCode | None = None

    def routing_key(self) -> str:
        """All in one order: a key of a person's own would tell who it is."""
        return "subjects"


class SubjectCommanded(Event[SubjectCommandedData]):
    """An administrator asks every service what it has of a person, or has it erased or put right."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.subject.commanded"] = "imex.subject.commanded"
    dataschema: str = schema_url("imex.subject.commanded")


class RequestCommandedData(Payload):
    """A wish of one institution for studies of another, or what is decided of it."""

    command: Literal["make", "grant", "refuse", "withdraw", "retry"]
    request: UUID = Field(description="of this request; what `wanted` is sealed for")
    requester: OdsCode = Field(description="who wants the studies")
    holder: OdsCode = Field(description="who has sent them, or has them")
    purpose: str = "direct-care"
    priority: Priority = "routine"
    wanted: Sealed | None = Field(
        default=None, description="issuer and patient_id, accession or study_uid; None but when it is made"
    )
    modality: str | None = None
    studied_from: str | None = Field(default=None, description="first day of a study, YYYY-MM-DD")
    studied_until: str | None = Field(default=None, description="last day of a study, YYYY-MM-DD")
    reason: str = ""
    actor: str
    actor_institution: OdsCode | None = None

    def routing_key(self) -> str:
        """What is said of one request stays in order."""
        return f"requests/{self.request}"


class RequestCommanded(Event[RequestCommandedData]):
    """Somebody with the right to ask asked for another institution's studies, or decided about that."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.request.commanded"] = "imex.request.commanded"
    dataschema: str = schema_url("imex.request.commanded")


class DeliveryCommandedData(StudyPayload):
    """A wish about one delivery."""

    command: Literal["retry", "cancel", "pause", "resume", "reroute"]
    delivery: UUID
    reason: str
    endpoint: str | None = Field(
        default=None, description="where to, of a reroute: another endpoint of the same recipient"
    )
    actor: str
    actor_institution: OdsCode | None = None


class DeliveryCommanded(Event[DeliveryCommandedData]):
    """A person wants a delivery tried now, given up, held, or sent to another endpoint."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.delivery.commanded"] = "imex.delivery.commanded"
    dataschema: str = schema_url("imex.delivery.commanded")


class DestinationCommandedData(Payload):
    """A wish about everything that is sent to one endpoint."""

    command: Literal["pause", "resume", "retry"]
    recipient: OdsCode
    endpoint: str = Field(description="the endpoint's name in the recipient's directory entry")
    reason: str = ""
    actor: str
    actor_institution: OdsCode | None = None

    def routing_key(self) -> str:
        """Wishes about one destination stay in order."""
        return f"destinations/{self.recipient}/{self.endpoint}"


class DestinationCommanded(Event[DestinationCommandedData]):
    """A person wants a destination left alone for a while, or asked again."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.destination.commanded"] = "imex.destination.commanded"
    dataschema: str = schema_url("imex.destination.commanded")


class EndpointCommandedData(Payload):
    """A wish that one endpoint of an institution be tested, from where deliveries are sent."""

    command: Literal["test"]
    test: UUID = Field(description="of this test; under which its steps are kept")
    recipient: OdsCode
    endpoint: str = Field(description="the endpoint's name in the recipient's directory entry")
    send: bool = Field(default=False, description="whether a study of nobody is to be sent there")
    actor: str
    actor_institution: OdsCode | None = None

    def routing_key(self) -> str:
        """Wishes about one endpoint stay in order."""
        return f"endpoints/{self.recipient}/{self.endpoint}"


class EndpointCommanded(Event[EndpointCommandedData]):
    """Somebody of an institution wants to know whether one of its endpoints can be delivered to."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.endpoint.commanded"] = "imex.endpoint.commanded"
    dataschema: str = schema_url("imex.endpoint.commanded")


class ViewReportedData(StudyPayload):
    """That somebody of the recipient read a share. No wish: routing tells partners of it."""

    share: UUID
    recipient: OdsCode
    how: Literal["opened", "downloaded"]
    actor: str
    actor_institution: OdsCode


class ViewReported(Event[ViewReportedData]):
    """The portal showed a share, or handed it out. The id is one for an account, a way and a day."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.view.reported"] = "imex.view.reported"
    dataschema: str = schema_url("imex.view.reported")
