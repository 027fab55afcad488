"""Storage commitments that senders asked of Imex, as they and the administration see them."""

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.portal import commitments as table
from imex.portal.commitment.questions import verdicts_of
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.portal.scope import Scope

State = Literal["open", "decided", "reported", "unreported"]
_COUNTS = (
    func.jsonb_array_length(table.c.instances).label("asked"),
    func.jsonb_array_length(table.c.refused).label("no"),
)


class Commitment(BaseModel):
    """One question. `committed` and `refused` are null until it is decided."""

    id: UUID
    institution: str
    ae_title: str = Field(description="of the sender that asked")
    transaction_uid: str
    state: State = Field(description="decided: it is still to be told; unreported: telling was given up")
    instances: int
    committed: int | None
    refused: int | None
    reason: str = Field(description="why it waits, or was given up, in words")
    asked_at: AwareDatetime
    due_at: AwareDatetime = Field(description="what is not committed by then is no")
    decided_at: AwareDatetime | None
    reported_at: AwareDatetime | None


class Line(BaseModel):
    """The answer about one instance."""

    sop_class_uid: str
    sop_instance_uid: str
    answer: Literal["committed", "refused", "open"]
    failure_reason: str | None = Field(description="four hex digits, PS3.3 C.14.1.1")
    reason: str


class WholeCommitment(Commitment):
    """A question with its instances, in the order in which they were asked for."""

    lines: list[Line]


async def listed(
    connection: AsyncConnection, scope: Scope, state: State | None, limit: int, after: str | None = None
) -> Page[Commitment]:
    """Questions, the newest first."""
    t = table.c
    query = select(table, *_COUNTS).where(scope.own(t.institution))
    if state is not None:
        query = query.where(t.state == state)
    if after is not None:
        query = query.where(tuple_(t.asked_at, t.id) < cursors.moment_and_id(after))
    query = query.order_by(t.asked_at.desc(), t.id.desc()).limit(limit + 1)
    found = [Commitment(**_facts(row)) for row in (await connection.execute(query)).mappings()]
    last = found[limit - 1] if len(found) > limit else None
    return Page(items=found[:limit], next=last and cursors.encode(last.asked_at.isoformat(), str(last.id)))


async def get(connection: AsyncConnection, scope: Scope, commitment: UUID) -> WholeCommitment | None:
    """One question, if the caller may see it."""
    query = select(table, *_COUNTS).where(scope.own(table.c.institution), table.c.id == commitment)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else WholeCommitment(**_facts(row), lines=_lines(row))


def _facts(row: Mapping[Any, Any]) -> dict[str, Any]:
    kept = ("institution", "ae_title", "transaction_uid", "state", "reason", "asked_at", "due_at")
    return {
        **{name: row[name] for name in ("id", *kept, "decided_at", "reported_at")},
        "instances": row["asked"],
        "committed": None if row["no"] is None else row["asked"] - row["no"],
        "refused": row["no"],
    }


def _lines(row: Mapping[Any, Any]) -> list[Line]:
    verdicts = None if row["refused"] is None else verdicts_of(row["refused"], row["asked"])
    lines = []
    for number, (sop_class, uid) in enumerate(row["instances"]):
        one = verdicts[number] if verdicts else None
        lines.append(
            Line(
                sop_class_uid=sop_class,
                sop_instance_uid=uid,
                answer="open" if one is None else "committed" if one.committed else "refused",
                failure_reason=f"{one.reason:04X}" if one and one.reason is not None else None,
                reason=one.words if one else "",
            )
        )
    return lines
