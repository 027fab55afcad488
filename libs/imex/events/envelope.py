"""The CloudEvents envelope that every Imex event wears.

CloudEvents 1.0 in structured JSON mode: one body serves Kafka, webhooks and the change feed.
"""

from datetime import UTC, datetime
from typing import ClassVar, Generic, Literal, Self, TypeVar, get_args
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

SCHEMA_BASE = "https://schemas.imex.example/events"

OdsCode = str
"""An institution's code, an ODS code in the UK."""

Lane = Literal["express", "urgent", "bulk"]
"""Which topics carry a study: emergencies, what is urgent, and everything else."""
LANES: tuple[Lane, ...] = get_args(Lane)
"""The lanes, the most urgent first."""
Priority = Literal["routine", "urgent", "emergency"]


class Payload(BaseModel):
    """Base of every event's `data`: immutable, and open to fields that a later producer adds."""

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_serialization_defaults_required=True)

    def routing_key(self) -> str:
        """The Kafka key: what must stay in order with what."""
        raise NotImplementedError


class StudyPayload(Payload):
    """Data about one study; its events stay in order because they share a key."""

    source: OdsCode = Field(description="institution that the study came from")
    study_uid: str = Field(description="Study Instance UID (0020,000D)", max_length=128)

    def routing_key(self) -> str:
        """Studies are identified within the institution they came from."""
        return study_key(self.source, self.study_uid)


def study_key(source: OdsCode, study_uid: str) -> str:
    """The key of everything about one study of one institution."""
    return f"{source}/{study_uid}"


D = TypeVar("D", bound=Payload)


class Event(BaseModel, Generic[D]):
    """One CloudEvents 1.0 event.

    A concrete event narrows `type` and `dataschema` to a literal and names its `FAMILY`; families map
    to topics in the catalogue. Consumers are open: unknown attributes are ignored.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_serialization_defaults_required=True)

    FAMILY: ClassVar[str]
    PRODUCER: ClassVar[str]
    VERSION: ClassVar[int] = 1

    specversion: Literal["1.0"] = "1.0"
    id: UUID = Field(description="unique with `source`; a repeat of the same fact has the same id")
    source: str = Field(description="the service that says so, as a URI reference")
    type: str
    subject: str = Field(description="what the event is about: a study, share, delivery, …")
    time: AwareDatetime = Field(description="when the fact happened")
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str
    traceparent: str | None = Field(default=None, description="W3C Trace Context of the cause")
    data: D

    @property
    def key(self) -> str:
        """The Kafka key of this event."""
        return self.data.routing_key()

    @classmethod
    def type_name(cls) -> str:
        """The CloudEvents type, for instance `imex.share.delivered`."""
        return str(cls.model_fields["type"].default)

    @classmethod
    def of(
        cls,
        *,
        id: UUID,
        subject: str,
        data: D,
        time: datetime | None = None,
        traceparent: str | None = None,
    ) -> Self:
        """A new event of this type; `time` is now unless the fact is older."""
        return cls(
            id=id,
            source=f"/imex/{cls.PRODUCER}",
            type=cls.type_name(),
            subject=subject,
            time=time or datetime.now(UTC),
            dataschema=cls.schema_url(),
            traceparent=traceparent,
            data=data,
        )

    @classmethod
    def schema_url(cls) -> str:
        """Where the JSON Schema of this version is named."""
        return schema_url(cls.type_name(), cls.VERSION)

    def encode(self) -> bytes:
        """The structured-mode JSON body."""
        return self.model_dump_json(exclude_none=True).encode()


def schema_url(type_name: str, version: int = 1) -> str:
    """The `dataschema` of an event type."""
    return f"{SCHEMA_BASE}/{type_name}/v{version}.json"


AnyEvent = Event[Payload]
