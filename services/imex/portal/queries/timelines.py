"""The steps of a share."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.routing import shares, timeline
from imex.directory import discreet
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.portal.scope import Scope


class Step(BaseModel):
    """One step: what happened, when, by whom, why."""

    at: AwareDatetime
    step: str
    actor: str
    reason: str
    details: dict[str, Any]


async def of_share(
    connection: AsyncConnection, scope: Scope, share: UUID, limit: int, after: str | None = None
) -> Page[Step]:
    """The steps of a share in the order in which they became known."""
    t = timeline.c
    query = (
        select(t.seq, t.at, t.step, t.actor, t.reason, t.details, shares.c.source)
        .join(shares, shares.c.id == t.share)
        .where(t.share == share, scope.either(shares.c.source, shares.c.recipient))
    )
    if after is not None:
        (seq,) = cursors.decode(after, 1)
        if not seq.isdecimal():
            raise cursors.unknown()
        query = query.where(t.seq > int(seq))
    rows = (await connection.execute(query.order_by(t.seq).limit(limit + 1))).mappings().all()
    more = len(rows) > limit
    kept = rows[:limit]
    return Page(
        items=[_step(row, scope) for row in kept],
        next=cursors.encode(str(kept[-1]["seq"])) if more else None,
    )


def _step(row: Mapping[Any, Any], scope: Scope) -> Step:
    reason = row["reason"] if scope.sees(row["source"]) else discreet(row["reason"])
    return Step.model_validate({**row, "reason": reason})
