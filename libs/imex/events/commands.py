"""What people ask for through the portal, the API or the command line."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field

from imex.events.envelope import Event, OdsCode, Priority, StudyPayload, schema_url
from imex.events.sealed import Sealed


class ShareCommandedData(StudyPayload):
    """A wish about one share; routing decides."""

    command: Literal["create", "accept", "refuse", "cancel", "revoke"]
    share: UUID | None = Field(default=None, description="None when it is to be created")
    recipient: OdsCode
    purpose: str = "direct-care"
    priority: Priority = "routine"
    endpoint: str | None = None
    reference: str | None = None
    note: Sealed | None = None
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


class DeliveryCommandedData(StudyPayload):
    """A wish about one delivery."""

    command: Literal["retry", "cancel"]
    delivery: UUID
    reason: str
    actor: str
    actor_institution: OdsCode | None = None


class DeliveryCommanded(Event[DeliveryCommandedData]):
    """A person wants a delivery tried now, or given up."""

    FAMILY: ClassVar[str] = "commands"
    PRODUCER: ClassVar[str] = "portal"
    type: Literal["imex.delivery.commanded"] = "imex.delivery.commanded"
    dataschema: str = schema_url("imex.delivery.commanded")
