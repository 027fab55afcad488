"""The audit trail as its owner stored it."""

from collections.abc import AsyncIterator

from sqlalchemy import ColumnElement, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.audit_trail import Checkpoint, Head, Record, Verifier
from imex.audit_trail.chain import Break
from imex.audit_trail.entry import Entry, entry_of
from imex.db.tables.audit import chains, checkpoints, personal, records
from imex.portal.scope import Scope

_BATCH = 1000
Personal = dict[str, tuple[bytes, str | None]]


async def verify(connection: AsyncConnection) -> tuple[Verifier, list[Break], int, int]:
    """Check everything: the verifier, every chain's first break, and how many chains and checkpoints."""
    heads = [
        Head(row.partition, row.length, bytes(row.head))
        for row in await connection.execute(select(chains).order_by(chains.c.partition))
    ]
    points = [
        Checkpoint(row.sequence, tuple(map(Head.from_json, row.heads)), bytes(row.previous), bytes(row.hash))
        for row in await connection.execute(select(checkpoints).order_by(checkpoints.c.sequence))
    ]
    verifier = Verifier(heads, points)
    async for record, facts in _stored(connection, true()):
        verifier.feed(record, facts)
    return verifier, verifier.finish(), len(heads), len(points)


async def entries(connection: AsyncConnection, scope: Scope) -> AsyncIterator[Entry]:
    """Every entry that the caller may read: those that its institution acted in, sent or received."""
    wanted = true() if scope.institution is None else records.c.institutions.contains([scope.institution])
    async for record, facts in _stored(connection, wanted):
        yield entry_of(record, {name: value for name, (_, value) in facts.items() if value is not None})


async def _stored(
    connection: AsyncConnection, wanted: ColumnElement[bool]
) -> AsyncIterator[tuple[Record, Personal]]:
    r, p = records.c, personal.c
    place = (-1, -1)
    while True:
        query = select(r.partition, r.sequence, r.event_id, r.body, r.previous, r.hash)
        query = query.where(wanted, tuple_(r.partition, r.sequence) > place)
        rows = (await connection.execute(query.order_by(r.partition, r.sequence).limit(_BATCH))).all()
        if not rows:
            return
        facts: dict[object, Personal] = {}
        ids = [row.event_id for row in rows]
        for fact in await connection.execute(select(personal).where(p.event_id.in_(ids))):
            facts.setdefault(fact.event_id, {})[fact.field] = (bytes(fact.salt), fact.value)
        for row in rows:
            record = Record(row.partition, row.sequence, row.body, bytes(row.previous), bytes(row.hash))
            yield record, facts.get(row.event_id, {})
        place = (rows[-1].partition, rows[-1].sequence)
