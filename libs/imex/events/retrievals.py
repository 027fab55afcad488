"""Requests answered from the holder's own archive: what routing orders, and what delivery says of it."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from imex.events.envelope import Event, OdsCode, Payload, Priority, schema_url
from imex.events.sealed import Sealed

RetrievalState = Literal["asking", "retrieving", "complete", "partial", "failed", "nothing found"]
"""Asking or retrieving may be waiting for the next try; the others are ends."""


class RetrievalPayload(Payload):
    """About what is fetched for one request, under one of its orders."""

    request: UUID
    order: int = Field(description="counts from 1; a person's retry is the next one")
    holder: OdsCode = Field(description="whose archives are asked")

    def routing_key(self) -> str:
        """What is said of one request stays in order."""
        return f"retrievals/{self.request}"


class HeldStudy(BaseModel):
    """A study that Imex holds, so that it need not be fetched where the archive has no more of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    study_uid: str
    instances: int


class RetrievalOrderedData(RetrievalPayload):
    """Which studies to fetch; `wanted` is sealed in the context of the request."""

    requester: OdsCode
    purpose: str
    endpoints: tuple[str, ...] = Field(description="names of the holder's endpoints that are asked")
    priority: Priority
    wanted: Sealed
    modality: str | None = None
    studied_from: str | None = Field(default=None, description="YYYYMMDD")
    studied_until: str | None = Field(default=None, description="YYYYMMDD")
    modalities: tuple[str, ...] | None = Field(
        default=None, description="the only ones that the agreement covers; None: any"
    )
    most: int = Field(description="studies, the newest")
    held: tuple[HeldStudy, ...] = ()
    expires_at: AwareDatetime = Field(description="when nothing is tried any more")


class RetrievalOrdered(Event[RetrievalOrderedData]):
    """A request was granted: its studies are to be fetched from the holder."""

    FAMILY: ClassVar[str] = "retrievals"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.retrieval.ordered"] = "imex.retrieval.ordered"
    dataschema: str = schema_url("imex.retrieval.ordered")


class RetrievalWithdrawnData(RetrievalPayload):
    """Nobody wants it any more."""

    reason: str


class RetrievalWithdrawn(Event[RetrievalWithdrawnData]):
    """The request has ended otherwise: nothing more is fetched for it."""

    FAMILY: ClassVar[str] = "retrievals"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.retrieval.withdrawn"] = "imex.retrieval.withdrawn"
    dataschema: str = schema_url("imex.retrieval.withdrawn")


class RetrievalMatchedData(RetrievalPayload):
    """What an archive has of what was asked for; said before any of it is fetched."""

    endpoint: str = Field(description="the endpoint's name in the holder's directory entry")
    studies: tuple[str, ...] = Field(max_length=500, description="Study Instance UIDs")


class RetrievalMatched(Event[RetrievalMatchedData]):
    """An archive of the holder answered what it was asked."""

    FAMILY: ClassVar[str] = "deliveries"
    PRODUCER: ClassVar[str] = "delivery"
    type: Literal["imex.retrieval.matched"] = "imex.retrieval.matched"
    dataschema: str = schema_url("imex.retrieval.matched")


class RetrievalProgressedData(RetrievalPayload):
    """How far it is, in words that name nobody; `reason` is for the holder's people."""

    state: RetrievalState
    reason: str = ""
    studies: int = Field(default=0, description="found so far")
    fetched: int = Field(default=0, description="of these, fetched whole, or held already")
    instances: int = Field(default=0, description="that the archives say they have sent")
    failed: int = Field(default=0, description="instances that they say they could not send")


class RetrievalProgressed(Event[RetrievalProgressedData]):
    """Where a retrieval is."""

    FAMILY: ClassVar[str] = "deliveries"
    PRODUCER: ClassVar[str] = "delivery"
    type: Literal["imex.retrieval.progressed"] = "imex.retrieval.progressed"
    dataschema: str = schema_url("imex.retrieval.progressed")
