"""Keeping what came in and could not be handled, so that nobody takes an older version for the newest.

A sender may ask for a storage commitment meanwhile: see `imex.portal.commitment`.
"""

from typing import Final
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables.validation import unjudged
from imex.events import LANES, UndecodableEvent, decode
from imex.events.instances import AssociationEnded, InstanceReceived
from imex.runtime.message import RawRecord

_TOPICS: Final = tuple(f"instances.{lane}" for lane in LANES)


async def mark_unjudged(raw: RawRecord, reason: str, unit: UnitOfWork | None) -> None:
    """The runtime's dead-letter hook. What cannot be read may be any instance of the source in its key."""
    source, slash, study_uid = (raw.key or b"").decode(errors="replace").partition("/")
    if unit is None or not slash or raw.topic not in _TOPICS:
        return
    event_id, sop_instance_uid = _told_by_header(raw), None
    try:
        event = decode(raw.value or b"", raw.header("ce_type"))
    except UndecodableEvent:
        pass
    else:
        if isinstance(event, AssociationEnded):  # it brings nothing
            return
        if isinstance(event, InstanceReceived):
            event_id, source, study_uid = event.id, event.data.source, event.data.study_uid
            sop_instance_uid = event.data.sop_instance_uid
    await unit.connection.execute(
        insert(unjudged)
        .values(
            topic=raw.topic,
            partition=raw.partition,
            offset=raw.offset,
            source=source,
            study_uid=study_uid,
            event_id=event_id,
            sop_instance_uid=sop_instance_uid,
        )
        .on_conflict_do_nothing()
    )


def _told_by_header(raw: RawRecord) -> UUID | None:
    try:
        return UUID(raw.header("ce_id") or "")
    except ValueError:
        return None
