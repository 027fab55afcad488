"""A stored record read back as what happened."""

import json
from dataclasses import dataclass, field
from datetime import datetime

from imex.audit_trail.chain import Record
from imex.events.audit import AuditRecordedData


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the trail, as exports need it."""

    id: str
    time: datetime
    recorded_by: str
    data: AuditRecordedData
    personal: dict[str, str] = field(default_factory=dict)
    """Facts on who acted that have not been erased."""


def entry_of(record: Record, personal: dict[str, str] | None = None) -> Entry:
    """The entry in a record's body.

    Raises:
        ValueError: the body is no audit record; `verify` says where the trail is broken.
    """
    body = json.loads(record.body)
    return Entry(
        id=body["id"],
        time=datetime.fromisoformat(body["time"]),
        recorded_by=body["recorded_by"],
        data=AuditRecordedData.model_validate(body["data"]),
        personal=personal or {},
    )
