"""Marking the study of a dead letter, so that people see which one does not go on."""

from datetime import UTC, datetime

from sqlalchemy import update

from imex.db import UnitOfWork
from imex.db.tables.routing import studies
from imex.routing import notices
from imex.runtime import RawRecord
from imex.sharing.model import StudyKey


async def mark_stuck(raw: RawRecord, reason: str, unit: UnitOfWork | None) -> None:
    """The runtime's dead-letter hook. The key alone tells the study: the value may be unreadable."""
    if unit is None or raw.key is None:
        return
    source, slash, study_uid = raw.key.decode(errors="replace").partition("/")
    if slash:
        await note_stuck(unit, (source, study_uid), f"a record of {raw.topic} could not be handled: {reason}")


async def note_stuck(unit: UnitOfWork, study: StudyKey, why: str, due_at: datetime | None = None) -> None:
    """Say of a study that it does not go on, and tell people; `due_at`: when it is looked at again."""
    later = {} if due_at is None else {"due_at": due_at}
    await unit.connection.execute(
        update(studies)
        .where(studies.c.source == study[0], studies.c.study_uid == study[1])
        .values(stuck=why, **later)
    )
    await notices.about_study(unit, "stuck", study, why, datetime.now(UTC))
