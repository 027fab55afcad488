"""Notices: what somebody should know of, until their institution has acknowledged it."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import Select, and_, case, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.portal import acknowledgements
from imex.db.tables.routing import notices, shares
from imex.events.shares import ShareState
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.portal.queries.veil import shown_study_uid
from imex.portal.scope import Caller, Scope

NoticeKind = Literal["escalated", "stuck", "outstanding"]
NoticeState = Literal["open", "acknowledged"]


class Notice(BaseModel):
    """One notice, as the caller's institution sees it."""

    id: UUID
    kind: NoticeKind = Field(
        description="escalated: a share was not delivered in its time; stuck: a study does not go on; "
        "outstanding: a recall or a correction that nobody has acknowledged"
    )
    source: str
    study_uid: str
    share: UUID | None
    recipient: str | None
    reason: str
    share_state: ShareState | None = Field(description="of the share by now")
    at: AwareDatetime
    acknowledged_at: AwareDatetime | None
    acknowledged_by: str | None
    remark: str | None


def _base(scope: Scope) -> Select[Any]:
    n, a, s = notices.c, acknowledgements.c, shares.c
    # what happened again after it was acknowledged is new
    own = and_(a.notice == n.id, a.institution == (scope.institution or ""), a.at >= n.at)
    return (
        select(
            *(column for column in n if column.name != "study_uid"),
            case((s.id.is_(None), n.study_uid), else_=shown_study_uid(scope)).label("study_uid"),
            s.state.label("share_state"),
            a.at.label("acknowledged_at"),
            a.by.label("acknowledged_by"),
            a.remark,
        )
        .select_from(notices.outerjoin(acknowledgements, own).outerjoin(shares, s.id == n.share))
        .where(or_(scope.own(n.source), scope.own(n.recipient)))
    )


async def listed(
    connection: AsyncConnection,
    scope: Scope,
    *,
    state: NoticeState | None,
    kind: NoticeKind | None = None,
    limit: int,
    after: str | None = None,
) -> Page[Notice]:
    """Notices, the newest first."""
    n, a = notices.c, acknowledgements.c
    query = _base(scope)
    if state is not None:
        query = query.where(a.at.is_(None) if state == "open" else a.at.is_not(None))
    if kind is not None:
        query = query.where(n.kind == kind)
    if after is not None:
        query = query.where(tuple_(n.at, n.id) < cursors.moment_and_id(after))
    query = query.order_by(n.at.desc(), n.id.desc()).limit(limit + 1)
    rows = (await connection.execute(query)).mappings()
    found = [Notice.model_validate(dict(row)) for row in rows]
    if len(found) <= limit:
        return Page(items=found, next=None)
    last = found[limit - 1]
    return Page(items=found[:limit], next=cursors.encode(last.at.isoformat(), str(last.id)))


async def get(connection: AsyncConnection, scope: Scope, notice: UUID) -> Notice | None:
    """One notice, if the caller may see it."""
    row = (await connection.execute(_base(scope).where(notices.c.id == notice))).mappings().one_or_none()
    return None if row is None else Notice.model_validate(dict(row))


async def open_count(connection: AsyncConnection, scope: Scope) -> int:
    """How many the caller's institution has not acknowledged."""
    query = _base(scope).where(acknowledgements.c.at.is_(None)).subquery()
    return int(await connection.scalar(select(func.count()).select_from(query)) or 0)


async def acknowledge(
    connection: AsyncConnection, caller: Caller, notice: UUID, at: datetime, remark: str
) -> None:
    """Somebody of the caller's institution has seen to it."""
    row = {
        "notice": notice,
        "institution": caller.scope.institution or "",
        "at": at,
        "by": caller.name,
        "remark": remark,
    }
    made = insert(acknowledgements).values(row)
    again = {name: made.excluded[name] for name in ("at", "by", "remark")}
    await connection.execute(made.on_conflict_do_update(index_elements=["notice", "institution"], set_=again))
