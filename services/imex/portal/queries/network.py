"""How the network is doing, as far as the database knows."""

from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import Select, Table, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.schemas import metadata_of
from imex.db.tables.common import Common
from imex.db.tables.delivery import deliveries
from imex.db.tables.validation import quarantine

SERVICES = ("validation", "routing", "delivery", "audit", "portal")


class Backlog(BaseModel):
    """What one service has still to tell the others."""

    service: str
    unpublished: int = Field(description="events in its outbox")
    oldest_s: float = Field(description="age of the oldest of them, in seconds")
    parked: int = Field(description="records that wait for a time")


class Waiting(BaseModel):
    """What waits in the whole network."""

    quarantined: int
    deliveries: int
    deliveries_retrying: int


def _tables(service: str) -> Common:
    tables = metadata_of(service).tables
    return Common(*(tables[f"{service}.{name}"] for name in ("inbox", "outbox", "parked")))


async def backlogs(connection: AsyncConnection) -> list[Backlog]:
    """Every service's outbox and parked records, in one statement."""
    rows = await connection.execute(union_all(*(_backlog(service) for service in SERVICES)))
    return [Backlog.model_validate(dict(row)) for row in rows.mappings()]


def _backlog(service: str) -> Select[Any]:
    common = _tables(service)
    outbox, parked = common.outbox, common.parked
    waiting = outbox.c.published_at.is_(None)
    age = func.coalesce(func.extract("epoch", func.now() - func.min(outbox.c.created_at)), 0.0)
    return select(
        literal(service).label("service"),
        _count(outbox).where(waiting).scalar_subquery().label("unpublished"),
        select(age).where(waiting).scalar_subquery().label("oldest_s"),
        _count(parked).scalar_subquery().label("parked"),
    )


def _count(table: Table) -> Select[Any]:
    return select(func.count()).select_from(table)


async def waiting(connection: AsyncConnection) -> Waiting:
    """Counts of what waits for a person or a destination."""
    d = deliveries.c
    open_ones = _count(deliveries).where(d.state.in_(("waiting", "running")))
    retrying = _count(deliveries).where(d.state == "waiting", d.attempts > 0)
    held = _count(quarantine).where(quarantine.c.state == "waiting")
    return Waiting(
        quarantined=await connection.scalar(held) or 0,
        deliveries=await connection.scalar(open_ones) or 0,
        deliveries_retrying=await connection.scalar(retrying) or 0,
    )
