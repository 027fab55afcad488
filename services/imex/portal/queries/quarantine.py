"""What waits for a person. Only the institution that sent it sees it, and the network's administration."""

from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.validation import quarantine
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.portal.scope import Scope

QuarantineState = Literal["waiting", "released", "discarded", "refused"]


class QuarantineEntry(BaseModel):
    """One held instance."""

    id: UUID
    sop_instance_uid: str
    study_uid: str
    source: str
    reason: str
    evidence: Any = Field(description="the findings: which check, and what it found, without patient data")
    may_release: list[str] = Field(
        description="institutions, and `admin` for the network's administration; empty: it can only be "
        "discarded"
    )
    state: QuarantineState
    size: int
    created_at: AwareDatetime
    decided_at: AwareDatetime | None
    decided_by: str | None
    decision_reason: str | None


_COLUMNS = [
    quarantine.c.releasable,
    quarantine.c.releaser,
    *(quarantine.c[name] for name in QuarantineEntry.model_fields if name in quarantine.c),
]


def _entry(row: Any) -> QuarantineEntry:
    named = {name: row[name] for name in QuarantineEntry.model_fields if name in row}
    return QuarantineEntry(**named, may_release=_may_release(row))


def _may_release(row: Any) -> list[str]:
    if not row["releasable"]:
        return []
    return [row["source"], "admin"] if row["releaser"] == "source" else ["admin"]


async def listed(
    connection: AsyncConnection,
    scope: Scope,
    *,
    state: QuarantineState | None,
    study_uid: str | None,
    limit: int,
    after: str | None = None,
) -> Page[QuarantineEntry]:
    """Entries, the newest first."""
    q = quarantine.c
    query = select(*_COLUMNS).where(scope.own(q.source))
    if state is not None:
        query = query.where(q.state == state)
    if study_uid is not None:
        query = query.where(q.study_uid == study_uid)
    if after is not None:
        at, identifier = cursors.moment_and_id(after)
        query = query.where(tuple_(q.created_at, q.id) < (at, identifier))
    query = query.order_by(q.created_at.desc(), q.id.desc()).limit(limit + 1)
    found = [_entry(row) for row in (await connection.execute(query)).mappings()]
    if len(found) <= limit:
        return Page(items=found, next=None)
    last = found[limit - 1]
    return Page(items=found[:limit], next=cursors.encode(last.created_at.isoformat(), str(last.id)))


async def get(connection: AsyncConnection, scope: Scope, entry: UUID) -> QuarantineEntry | None:
    """One entry, if the caller may see it."""
    q = quarantine.c
    query = select(*_COLUMNS).where(q.id == entry, scope.own(q.source))
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _entry(row)


async def waiting_count(connection: AsyncConnection, scope: Scope) -> int:
    """How many entries wait."""
    q = quarantine.c
    query = select(func.count()).select_from(quarantine).where(q.state == "waiting", scope.own(q.source))
    return int(await connection.scalar(query) or 0)
