"""Deliveries: the carrying of shares to endpoints."""

from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import Select, and_, case, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.delivery import attempts, controls, deliveries, destinations, instances
from imex.db.tables.routing import shares
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.portal.queries.veil import shown_study_uid
from imex.portal.scope import Scope

_SHOWN = 100

DeliveryState = Literal["waiting", "running", "idle", "ended"]


class Delivery(BaseModel):
    """One delivery."""

    id: UUID
    share: UUID
    study_uid: str
    source: str
    recipient: str
    endpoint: str
    priority: str
    state: DeliveryState
    outcome: str | None
    reason: str
    attempts: int
    next_attempt_at: AwareDatetime | None
    expected: int | None
    delivered: int
    failed: int
    created_at: AwareDatetime
    expires_at: AwareDatetime
    paused: bool = Field(default=False, description="by a person; it still expires")
    paused_by: str = ""
    paused_institution: str | None = Field(default=None, description="whose account paused it")
    paused_reason: str = ""
    destination: Literal["open", "paused", "away"] = Field(
        default="open", description="whether the destination takes anything at all"
    )


class Attempt(BaseModel):
    """One try."""

    number: int
    started_at: AwareDatetime
    ended_at: AwareDatetime
    outcome: str
    reason: str
    confirmed: int


class Control(BaseModel):
    """What a person asked, of the delivery or of its whole destination, and was done."""

    at: AwareDatetime
    command: str
    actor: str
    institution: str | None
    reason: str
    whole_destination: bool
    from_endpoint: str | None = Field(description="where it went before, of a reroute")


class DeliveryDetail(Delivery):
    """One delivery with what was tried and asked."""

    tried: list[Attempt] = Field(description="the newest first, at most 100")
    asked: list[Control] = Field(description="the newest first, at most 100")


def _base(scope: Scope) -> Select[Any]:
    d = deliveries.c

    def count(state: str) -> Any:
        of_delivery = select(func.count()).select_from(instances).where(instances.c.delivery == d.id)
        return of_delivery.where(instances.c.state == state).scalar_subquery()

    own = {"study_uid", "paused"}
    stored = [d[name] for name in Delivery.model_fields if name in d and name not in own]
    there = and_(destinations.c.recipient == d.recipient, destinations.c.endpoint == d.endpoint)
    standing = case(
        (destinations.c.paused.is_not(None), "paused"),
        (destinations.c.probe_at.is_not(None), "away"),
        else_="open",
    ).label("destination")
    # a share that the portal does not know is shown as delivery knows it
    study_uid = case((shares.c.id.is_(None), d.study_uid), else_=shown_study_uid(scope)).label("study_uid")
    joined = deliveries.outerjoin(shares, shares.c.id == d.share).outerjoin(destinations, there)
    counts = [count("confirmed").label("delivered"), count("failed").label("failed")]
    held = [d.paused.is_not(None).label("paused"), standing]
    query = select(*stored, study_uid, *counts, *held).select_from(joined)
    return query.where(scope.either(d.source, d.recipient))


async def listed(
    connection: AsyncConnection,
    scope: Scope,
    *,
    state: DeliveryState | None,
    share: UUID | None,
    recipient: str | None,
    endpoint: str | None = None,
    paused: bool | None = None,
    limit: int,
    after: str | None = None,
) -> Page[Delivery]:
    """Deliveries, the newest first."""
    d = deliveries.c
    query = _base(scope)
    if paused is not None:
        query = query.where(d.paused.is_not(None) if paused else d.paused.is_(None))
    wishes = ((d.state, state), (d.share, share), (d.recipient, recipient), (d.endpoint, endpoint))
    for column, wanted in wishes:
        if wanted is not None:
            query = query.where(column == wanted)
    if after is not None:
        at, identifier = cursors.moment_and_id(after)
        query = query.where(tuple_(d.created_at, d.id) < (at, identifier))
    query = query.order_by(d.created_at.desc(), d.id.desc()).limit(limit + 1)
    rows = (await connection.execute(query)).mappings()
    found = [Delivery.model_validate(dict(row)) for row in rows]
    if len(found) <= limit:
        return Page(items=found, next=None)
    last = found[limit - 1]
    return Page(items=found[:limit], next=cursors.encode(last.created_at.isoformat(), str(last.id)))


async def get(connection: AsyncConnection, scope: Scope, delivery: UUID) -> Delivery | None:
    """One delivery, if the caller may see it."""
    query = _base(scope).where(deliveries.c.id == delivery)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else Delivery.model_validate(dict(row))


async def detail(connection: AsyncConnection, scope: Scope, delivery: UUID) -> DeliveryDetail | None:
    """One delivery with its attempts and what people asked of it, if the caller may see it."""
    found = await get(connection, scope, delivery)
    if found is None:
        return None
    a, c = attempts.c, controls.c
    tried = await connection.execute(
        select(attempts).where(a.delivery == delivery).order_by(a.number.desc()).limit(_SHOWN)
    )
    of_destination = and_(
        c.delivery.is_(None),
        c.recipient == found.recipient,
        c.endpoint == found.endpoint,
        c.at >= found.created_at,
    )
    asked = await connection.execute(
        select(controls)
        .where(or_(c.delivery == delivery, of_destination))
        .order_by(c.at.desc())
        .limit(_SHOWN)
    )
    return DeliveryDetail(
        **found.model_dump(),
        tried=[Attempt.model_validate(dict(row)) for row in tried.mappings()],
        asked=[
            Control(
                at=row.at,
                command=row.command,
                actor=row.actor,
                institution=row.institution,
                reason=row.reason,
                whole_destination=row.delivery is None,
                from_endpoint=row.details.get("from"),
            )
            for row in asked
        ],
    )


async def study_of(connection: AsyncConnection, delivery: UUID) -> tuple[str, str]:
    """Source and study UID by which delivery knows it; for commands, not to be shown."""
    d = deliveries.c
    row = (await connection.execute(select(d.source, d.study_uid).where(d.id == delivery))).one()
    return row.source, row.study_uid
