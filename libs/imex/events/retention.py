"""How long payloads live: what routing says of it to validation, which knows every object."""

from typing import ClassVar, Literal

from pydantic import AwareDatetime, Field

from imex.events.envelope import Event, Lane, StudyPayload, schema_url


class RetentionEndedData(StudyPayload):
    """Nobody needs the payloads of a study any more."""

    lane: Lane = Field(description="of the study: the answer comes there, in order with its instances")
    received_through: AwareDatetime = Field(
        description="the newest instance that was considered: with a newer one nothing is deleted"
    )


class RetentionEnded(Event[RetentionEndedData]):
    """All shares of a study have ended, their time and every hold is over."""

    FAMILY: ClassVar[str] = "retention"
    PRODUCER: ClassVar[str] = "routing"
    type: Literal["imex.retention.ended"] = "imex.retention.ended"
    dataschema: str = schema_url("imex.retention.ended")
