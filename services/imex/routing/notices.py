"""What a person should know of: rows that the portal shows until somebody has seen to them."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables import routing as tables
from imex.events import ids
from imex.sharing.model import Share, StudyKey

Kind = Literal["escalated", "stuck", "outstanding"]


async def about_share(unit: UnitOfWork, kind: Kind, share: Share, reason: str, at: datetime) -> None:
    """One for a share and a kind; the same again is that one, made new."""
    notice = ids.derived("notice", kind, str(share.id))
    await _put(unit, notice, kind, share.study, reason, at, share=share.id, recipient=share.recipient)


async def about_study(unit: UnitOfWork, kind: Kind, study: StudyKey, reason: str, at: datetime) -> None:
    """One for a study and a kind; the same again is that one, made new."""
    await _put(unit, ids.derived("notice", kind, *study), kind, study, reason, at)


async def _put(  # noqa: PLR0917  the row's columns
    unit: UnitOfWork,
    notice: UUID,
    kind: Kind,
    study: StudyKey,
    reason: str,
    at: datetime,
    *,
    share: UUID | None = None,
    recipient: str | None = None,
) -> None:
    row = {
        "id": notice,
        "kind": kind,
        "source": study[0],
        "study_uid": study[1],
        "share": share,
        "recipient": recipient,
        "reason": reason,
        "at": at,
    }
    made = insert(tables.notices).values(row)
    again = {name: made.excluded[name] for name in ("reason", "at")}
    await unit.connection.execute(made.on_conflict_do_update(index_elements=["id"], set_=again))
