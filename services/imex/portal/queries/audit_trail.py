"""The audit trail as its readers get it: whole for verification, by institution for export."""

from collections.abc import AsyncIterator
from dataclasses import replace

from pydantic import BaseModel
from sqlalchemy import Row, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.audit_trail import Break, Checkpoint, Head, Record, Verifier
from imex.audit_trail.entry import Entry, entry_of
from imex.db.tables.audit import chains, checkpoints, common, personal, records
from imex.db.tables.routing import shares
from imex.portal.queries.veil import shown_study_uid, veiled
from imex.portal.scope import Scope

CHUNK = 500
"""Rows in memory at a time: a trail may be larger than memory."""

_PERSONAL = (
    select(
        func.jsonb_object_agg(
            personal.c.field,
            func.jsonb_build_array(func.encode(personal.c.salt, "hex"), personal.c.value),
        )
    )
    .where(personal.c.event_id == records.c.event_id)
    .scalar_subquery()
    .label("personal")
)


class FirstBreak(BaseModel):
    """Where a chain is not what was written."""

    chain: str
    record: int
    problem: str


class Verdict(BaseModel):
    """What a verification found."""

    ok: bool
    records: int
    chains: int
    checkpoints: int
    first_break: FirstBreak | None
    breaks: list[FirstBreak]


async def verify(connection: AsyncConnection) -> Verdict:
    """Read the whole trail once. The connection sees one moment of it (repeatable read)."""
    heads = [Head(row.partition, row.length, row.head) for row in await connection.execute(select(chains))]
    joined = [
        _checkpoint(row)
        for row in await connection.execute(select(checkpoints).order_by(checkpoints.c.sequence))
    ]
    verifier = Verifier(heads, joined)
    ordered = select(records, _PERSONAL).order_by(records.c.partition, records.c.sequence)
    async with connection.stream(ordered.execution_options(yield_per=CHUNK)) as rows:
        async for row in rows:
            beside = {
                field: (bytes.fromhex(salt), value) for field, (salt, value) in (row.personal or {}).items()
            }
            verifier.feed(_record(row), beside, _columns(row))
    breaks = [_first(found) for found in verifier.finish()] + await _gone(connection)
    return Verdict(
        ok=not breaks,
        records=verifier.records,
        chains=len(heads),
        checkpoints=len(joined),
        first_break=breaks[0] if breaks else None,
        breaks=breaks,
    )


async def _gone(connection: AsyncConnection) -> list[FirstBreak]:
    """Records that were taken in, as the inbox tells for some days, and are in no chain any more.

    This finds what chains and checkpoints cannot tell once their own rows were cut as well.
    """
    inbox = common.inbox.c
    there = select(records.c.event_id).where(records.c.event_id == inbox.event_id).exists()
    found = (
        await connection.execute(
            select(func.count().label("count"), func.min(inbox.at).label("since")).where(~there)
        )
    ).one()
    if not found.count:
        return []
    problem = f"records that were taken in are gone: {found.count}, the first of {found.since.isoformat()}"
    return [FirstBreak(chain="all chains", record=0, problem=problem)]


async def entries(connection: AsyncConnection, scope: Scope) -> AsyncIterator[Entry]:
    """What concerns the caller, in the order in which it happened.

    To the recipient of a de-identified share the study is named as that knows it.
    """
    shown = case((veiled(scope), shown_study_uid(scope)), else_=records.c.study_uid).label("shown")
    wanted = (
        select(records, _PERSONAL, shown)
        .select_from(records.outerjoin(shares, shares.c.id == records.c.share))
        .order_by(records.c.at, records.c.partition, records.c.sequence)
    )
    if scope.institution is not None:
        wanted = wanted.where(records.c.institutions.contains([scope.institution]))
    async with connection.stream(wanted.execution_options(yield_per=CHUNK)) as rows:
        async for row in rows:
            kept = {field: value for field, (_, value) in (row.personal or {}).items() if value is not None}
            entry = entry_of(_record(row), kept)
            if row.shown != row.study_uid:
                entry = replace(
                    entry, data=entry.data.model_copy(update={"study_uid": row.shown or None, "details": {}})
                )
            yield entry


def _record(row: Row[tuple[object, ...]]) -> Record:
    return Record(row.partition, row.sequence, row.body, bytes(row.previous), bytes(row.hash))


def _columns(row: Row[tuple[object, ...]]) -> dict[str, object]:
    return {
        "event_id": str(row.event_id),
        "at": row.at,
        "action": row.action,
        "institutions": sorted(row.institutions),
        "study_uid": row.study_uid,
        "share": str(row.share) if row.share else None,
    }


def _checkpoint(row: Row[tuple[object, ...]]) -> Checkpoint:
    heads = tuple(Head.from_json(head) for head in row.heads)
    return Checkpoint(row.sequence, heads, bytes(row.previous), bytes(row.hash))


def _first(found: Break) -> FirstBreak:
    return FirstBreak(chain=found.chain, record=found.sequence, problem=found.problem)
