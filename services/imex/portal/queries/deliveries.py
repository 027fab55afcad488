"""Deliveries: the carrying of shares to endpoints."""

from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel
from sqlalchemy import Select, case, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.delivery import deliveries, instances
from imex.db.tables.routing import shares
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.portal.queries.veil import shown_study_uid
from imex.portal.scope import Scope

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


def _base(scope: Scope) -> Select[Any]:
    d = deliveries.c

    def count(state: str) -> Any:
        of_delivery = select(func.count()).select_from(instances).where(instances.c.delivery == d.id)
        return of_delivery.where(instances.c.state == state).scalar_subquery()

    stored = [d[name] for name in Delivery.model_fields if name in d and name != "study_uid"]
    # a share that the portal does not know is shown as delivery knows it
    study_uid = case((shares.c.id.is_(None), d.study_uid), else_=shown_study_uid(scope)).label("study_uid")
    joined = deliveries.outerjoin(shares, shares.c.id == d.share)
    counts = [count("confirmed").label("delivered"), count("failed").label("failed")]
    return select(*stored, study_uid, *counts).select_from(joined).where(scope.either(d.source, d.recipient))


async def listed(
    connection: AsyncConnection,
    scope: Scope,
    *,
    state: DeliveryState | None,
    share: UUID | None,
    recipient: str | None,
    limit: int,
    after: str | None = None,
) -> Page[Delivery]:
    """Deliveries, the newest first."""
    d = deliveries.c
    query = _base(scope)
    for column, wanted in ((d.state, state), (d.share, share), (d.recipient, recipient)):
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


async def study_of(connection: AsyncConnection, delivery: UUID) -> tuple[str, str]:
    """Source and study UID by which delivery knows it; for commands, not to be shown."""
    d = deliveries.c
    row = (await connection.execute(select(d.source, d.study_uid).where(d.id == delivery))).one()
    return row.source, row.study_uid
