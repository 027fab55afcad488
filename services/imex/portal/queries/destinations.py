"""Destinations: endpoints that deliveries go to, whether they take any at the moment, and what waits."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.delivery import deliveries, destinations, queues
from imex.directory import Directory
from imex.directory.index import is_open
from imex.portal.scope import Scope

DestinationState = Literal["open", "paused", "away", "closed"]


class Destination(BaseModel):
    """One destination."""

    recipient: str
    endpoint: str
    state: DestinationState = Field(
        default="open",
        description="paused: by a person; away: several deliveries in a row got nothing through, and one at a"
        " time asks whether it is back; closed: outside its hours, emergencies go on",
    )
    reason: str = ""
    since: AwareDatetime | None = None
    by: str = Field(default="", description="who paused it")
    paused_institution: str | None = Field(default=None, description="whose account paused it")
    next_probe_at: AwareDatetime | None = Field(default=None, description="of one that is away")
    waiting: int = Field(default=0, description="deliveries, of those that the caller may see")
    running: int = 0

    @property
    def paused(self) -> bool:
        """Whether a person paused it."""
        return self.state == "paused"


def _base(scope: Scope) -> Select[Any]:
    p, d = destinations.c, deliveries.c

    def count(state: str) -> Any:
        there = and_(d.recipient == p.recipient, d.endpoint == p.endpoint, d.state == state)
        counted = select(func.count()).select_from(deliveries)
        return counted.where(there, scope.either(d.source, d.recipient)).scalar_subquery()

    query = select(destinations, count("waiting").label("waiting"), count("running").label("running"))
    if scope.institution is None:
        return query
    q = queues.c
    sends = select(q.source).where(
        q.recipient == p.recipient, q.endpoint == p.endpoint, q.source == scope.institution
    )
    return query.where(or_(p.recipient == scope.institution, sends.exists()))


async def listed(
    connection: AsyncConnection, scope: Scope, directory: Directory, *, held_only: bool = False
) -> list[Destination]:
    """Destinations of the caller's institution, and those it sends to; those that take nothing first."""
    p = destinations.c
    query = _base(scope)
    if held_only:
        query = query.where(or_(p.paused.is_not(None), p.probe_at.is_not(None)))
    rows = await connection.execute(query.order_by(p.recipient, p.endpoint))
    found = [_destination(row) for row in rows.mappings()]
    found = found if held_only else list(_with_hours(found, directory))
    return sorted(found, key=lambda one: (one.state == "open", one.recipient, one.endpoint))


async def get(connection: AsyncConnection, scope: Scope, recipient: str, endpoint: str) -> Destination | None:
    """One destination, if the caller may see it."""
    p = destinations.c
    query = _base(scope).where(p.recipient == recipient, p.endpoint == endpoint)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _destination(row)


def _destination(row: Any) -> Destination:
    told: dict[str, Any] = {name: row[name] for name in ("recipient", "endpoint", "waiting", "running")}
    if row["paused"] is not None:
        told |= {
            "state": "paused",
            "reason": row["paused_reason"],
            "since": row["paused_at"],
            "by": row["paused_by"],
            "paused_institution": row["paused_institution"],
        }
    elif row["probe_at"] is not None:
        told |= {
            "state": "away",
            "reason": row["failed_reason"],
            "since": row["failing_since"],
            "next_probe_at": row["probe_at"],
        }
    return Destination.model_validate(told)


def _with_hours(found: Iterable[Destination], directory: Directory) -> Iterable[Destination]:
    endpoints = {
        (institution.code, endpoint.name): endpoint
        for institution in directory.institutions
        for endpoint in institution.endpoints
    }
    now = datetime.now(UTC)
    for one in found:
        endpoint = endpoints.get((one.recipient, one.endpoint))
        if one.state == "open" and endpoint is not None and not is_open(endpoint, now):
            yield one.model_copy(update={"state": "closed", "reason": "outside its hours"})
        else:
            yield one
