"""What each ingest process holds of the limits they share; the order of these records decides who got in."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from imex.events.envelope import Event, OdsCode, Payload, schema_url

CAPACITY_TOPIC = "capacity"


class CapacityPayload(Payload):
    """Said by one process."""

    process: UUID = Field(description="one run of one process; a new one after a restart")
    read_through: int = Field(description="last offset of this topic that the process had read; -1: none")

    def routing_key(self) -> str:
        """There is one partition; the key is for people who look."""
        return str(self.process)


class CapacityClaimedData(CapacityPayload):
    """An association wants in, or is in already."""

    claim: int = Field(description="1, 2, … within the process")
    institution: OdsCode = Field(description="whose association it is")
    taken: bool = Field(description="let in before this was said, as there was plenty of room")
    limit: int = Field(description="of associations of all institutions; 0: none")
    institution_limit: int = Field(description="of associations of this institution; 0: none")


class CapacityReleasedData(CapacityPayload):
    """An association that was let in has ended."""

    claim: int = Field(description="the claim's number")
    institution: OdsCode = Field(description="whose association it was")


class InstitutionUse(BaseModel):
    """What one institution's associations use in one process."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: OdsCode
    associations: int = 0
    in_flight_bytes: int = Field(default=0, description="held or waited for, the most since the last report")
    bytes_per_s: int = Field(default=0, description="received since the last report, and what was held back")


class CapacityReportedData(CapacityPayload):
    """A sign of life, with everything that a reader who has just begun has to know of a process."""

    institutions: tuple[InstitutionUse, ...] = ()
    leaving: bool = Field(default=False, description="the process stops and holds nothing any more")


class CapacityClaimed(Event[CapacityClaimedData]):
    """A claim on one association; its place in the topic decides."""

    FAMILY: ClassVar[str] = "capacity"
    PRODUCER: ClassVar[str] = "ingest"
    type: Literal["imex.capacity.claimed"] = "imex.capacity.claimed"
    dataschema: str = schema_url("imex.capacity.claimed")


class CapacityReleased(Event[CapacityReleasedData]):
    """A claim given back."""

    FAMILY: ClassVar[str] = "capacity"
    PRODUCER: ClassVar[str] = "ingest"
    type: Literal["imex.capacity.released"] = "imex.capacity.released"
    dataschema: str = schema_url("imex.capacity.released")


class CapacityReported(Event[CapacityReportedData]):
    """What a process holds and wants, about once a second."""

    FAMILY: ClassVar[str] = "capacity"
    PRODUCER: ClassVar[str] = "ingest"
    type: Literal["imex.capacity.reported"] = "imex.capacity.reported"
    dataschema: str = schema_url("imex.capacity.reported")
