"""Requests for studies, as both sides see them."""

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.routing import request_shares
from imex.db.tables.routing import requests as table
from imex.events import Priority
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.portal.scope import Scope

State = Literal["open", "granted", "refused", "withdrawn", "expired"]


class Pending(BaseModel):
    """Routing has not answered yet; ask for it again."""

    id: UUID


class Request(BaseModel):
    """One institution asks another; who is meant is in the request itself alone."""

    id: UUID
    requester: str
    holder: str
    purpose: str
    priority: Priority
    modality: str | None
    studied_from: str | None = Field(description="YYYYMMDD")
    studied_until: str | None = Field(description="YYYYMMDD")
    reason: str
    state: State
    answer: str = Field(description="why it is so, in words")
    shares: list[UUID] = Field(description="what was shared in answer")
    made_by: str
    decided_by: str | None
    made_at: AwareDatetime
    decided_at: AwareDatetime | None
    expires_at: AwareDatetime


def _base(scope: Scope) -> Select[Any]:
    t = table.c
    given = (
        select(func.coalesce(func.array_agg(request_shares.c.share), []))
        .where(request_shares.c.request == t.id)
        .scalar_subquery()
    )
    return select(table, given.label("shares")).where(scope.either(t.holder, t.requester))


def _request(row: Mapping[Any, Any]) -> Request:
    return Request(**{name: row[name] for name in Request.model_fields})


async def get(connection: AsyncConnection, scope: Scope, request: UUID) -> Request | None:
    """The request, if the caller may see it."""
    rows = await connection.execute(_base(scope).where(table.c.id == request))
    row = rows.mappings().one_or_none()
    return None if row is None else _request(row)


async def sealed(connection: AsyncConnection, request: UUID) -> Mapping[str, Any] | None:
    """What it is about, sealed; None once it has ended."""
    found: Mapping[str, Any] | None = await connection.scalar(
        select(table.c.wanted).where(table.c.id == request)
    )
    return found


async def listed(
    connection: AsyncConnection, scope: Scope, state: State | None, limit: int, after: str | None = None
) -> Page[Request]:
    """Requests, the newest first."""
    t = table.c
    query = _base(scope)
    if state is not None:
        query = query.where(t.state == state)
    if after is not None:
        query = query.where(tuple_(t.made_at, t.id) < cursors.moment_and_id(after))
    query = query.order_by(t.made_at.desc(), t.id.desc()).limit(limit + 1)
    found = [_request(row) for row in (await connection.execute(query)).mappings()]
    last = found[limit - 1] if len(found) > limit else None
    return Page(items=found[:limit], next=last and cursors.encode(last.made_at.isoformat(), str(last.id)))
