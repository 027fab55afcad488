"""The announcement of a new directory version; the document itself is in the object store."""

from typing import ClassVar, Literal

from pydantic import Field

from imex.events.envelope import Event, Payload, schema_url

DIRECTORY_KEY = "directory"


class DirectoryAppliedData(Payload):
    """Which version holds from now on."""

    number: int = Field(description="1, 2, … ; a consumer behind a number waits for it")
    version: str = Field(description="SHA-256 of the canonical document, hex")
    object_key: str = Field(description="of the document in the directory bucket")
    applied_by: str

    def routing_key(self) -> str:
        """One key: the topic is compacted to the newest announcement."""
        return DIRECTORY_KEY


class DirectoryApplied(Event[DirectoryAppliedData]):
    """A directory version is in force."""

    FAMILY: ClassVar[str] = "directory"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.directory.applied"] = "imex.directory.applied"
    dataschema: str = schema_url("imex.directory.applied")
