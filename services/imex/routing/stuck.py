"""Marking the study of a dead letter, so that people see which one does not go on."""

from sqlalchemy import update

from imex.db import UnitOfWork
from imex.db.tables.routing import studies
from imex.runtime import RawRecord


async def mark_stuck(raw: RawRecord, reason: str, unit: UnitOfWork | None) -> None:
    """The runtime's dead-letter hook. The key alone tells the study: the value may be unreadable."""
    if unit is None or raw.key is None:
        return
    source, slash, study_uid = raw.key.decode(errors="replace").partition("/")
    if slash:
        await unit.connection.execute(
            update(studies)
            .where(studies.c.source == source, studies.c.study_uid == study_uid)
            .values(stuck=f"a record of {raw.topic} could not be handled: {reason}")
        )
