"""Rejection notes that senders send themselves: written down when they are accepted, opened afterwards."""

from collections.abc import Collection, Iterable
from uuid import UUID

from sqlalchemy import Row, select

from imex.db import UnitOfWork
from imex.db.bulk import insert_rows
from imex.db.tables.routing import corrected_instances, corrections
from imex.events import ids
from imex.events.validations import InstanceValidated
from imex.routing.corrections.opening import Correction


async def hear(unit: UnitOfWork, events: Iterable[InstanceValidated], new: Collection[UUID]) -> None:
    """Write down the notes among newly accepted instances. A batch without any costs nothing."""
    for event in events:
        data = event.data
        if data.rejection is None or event.id not in new:
            continue
        name = ids.derived("heard rejection", str(event.id))
        row = {
            "id": name,
            "source": data.source,
            "study_uid": data.study_uid,
            "kind": "recall",
            "code": data.rejection.code,
            "reason": "",
            "actor": data.source,
            "actor_institution": data.source,
            "state": "heard",
            "at": data.received_at,
            "note_uid": data.sop_instance_uid,
            "note_sent_by": "source",
            "note_key": data.object_key,
            "note_size": data.size,
            "note_digest": data.digest,
            "note_syntax": data.transfer_syntax,
        }
        await insert_rows(unit.connection, corrections, [row], conflict="skip")
        named = [{"correction": name, **one.model_dump()} for one in data.rejection.instances]
        await insert_rows(unit.connection, corrected_instances, named, conflict="skip")


async def heard(unit: UnitOfWork, row: Row[object]) -> Correction:
    """A note that was written down, as a correction to open."""
    uids = await unit.connection.execute(
        select(corrected_instances.c.sop_instance_uid).where(corrected_instances.c.correction == row.id)
    )
    return Correction(
        id=row.id,
        kind="recall",
        actor=row.actor,
        institution=row.actor_institution,
        code=row.code,
        instances=frozenset(uids.scalars()),
        heard=True,
        note_uid=row.note_uid,
    )
