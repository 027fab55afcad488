"""Requests for studies, as both sides see them."""

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.routing import request_shares
from imex.db.tables.routing import requests as table
from imex.events import Priority
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.portal.scope import Scope

State = Literal["open", "granted", "refused", "withdrawn", "expired"]
Retrieval = Literal["asking", "retrieving", "complete", "partial", "failed", "nothing found"]


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
    retrieval: Retrieval | None = Field(
        description="how far its studies are fetched from the holder's archives; null: none is asked, or it"
        " is not the caller's to know"
    )
    retrieval_reason: str = Field(description="the same in words; for the holder's people")


def _base(scope: Scope) -> Select[Any]:
    t = table.c
    given = (
        select(func.coalesce(func.array_agg(request_shares.c.share), []))
        .where(request_shares.c.request == t.id)
        .scalar_subquery()
    )
    return select(table, given.label("shares")).where(scope.either(t.holder, t.requester))


def _shown_state(scope: Scope) -> ColumnElement[str]:
    """Who granted it, and that somebody did, the requester learns with its first share, and not before."""
    t = table.c
    given = and_(scope.own(t.holder), t.state == "open", t.granted_at.is_not(None))
    return case((given, "granted"), else_=t.state)


def _request(row: Mapping[Any, Any], scope: Scope) -> Request:
    facts = dict(row)
    facts["retrieval_reason"] = facts.pop("retrieval_words")
    if not scope.sees(row["holder"]):
        facts |= {"retrieval": None, "retrieval_reason": ""}
    elif row["state"] == "open" and row["granted_at"] is not None:
        facts |= {
            "state": "granted",
            "answer": row["grant_words"],
            "decided_by": row["granted_by"],
            "decided_at": row["granted_at"],
        }
    return Request(**{name: facts[name] for name in Request.model_fields})


async def get(connection: AsyncConnection, scope: Scope, request: UUID) -> Request | None:
    """The request, if the caller may see it."""
    rows = await connection.execute(_base(scope).where(table.c.id == request))
    row = rows.mappings().one_or_none()
    return None if row is None else _request(row, scope)


async def sealed(connection: AsyncConnection, scope: Scope, request: UUID) -> Mapping[str, Any] | None:
    """What it is about, sealed; None once it has ended, for who asked with the first share."""
    t = table.c
    found: Mapping[str, Any] | None = await connection.scalar(
        select(t.wanted).where(t.id == request, or_(scope.own(t.holder), t.state == "open"))
    )
    return found


async def listed(
    connection: AsyncConnection, scope: Scope, state: State | None, limit: int, after: str | None = None
) -> Page[Request]:
    """Requests, the newest first."""
    t = table.c
    query = _base(scope)
    if state is not None:
        query = query.where(_shown_state(scope) == state)
    if after is not None:
        query = query.where(tuple_(t.made_at, t.id) < cursors.moment_and_id(after))
    query = query.order_by(t.made_at.desc(), t.id.desc()).limit(limit + 1)
    found = [_request(row, scope) for row in (await connection.execute(query)).mappings()]
    last = found[limit - 1] if len(found) > limit else None
    return Page(items=found[:limit], next=last and cursors.encode(last.made_at.isoformat(), str(last.id)))
