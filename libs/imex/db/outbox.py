"""Reading the outbox in an order that is safe with concurrent writers.

A sequence's numbers are drawn before their transactions commit, so that a reader may see 8 while 7 is
still to come; a reader that goes on from 8 never publishes 7, or publishes it late. Three ways out were
weighed:

* comparing with `pg_snapshot_xmin`: correct, but one long transaction anywhere in the server, another
  service's included, holds up everyone's events;
* an exclusive lock around insert and commit: correct, but writers then commit one by one;
* this one: a writer takes a *shared* advisory lock just before it draws numbers and keeps it to its
  commit. The reader notes the sequence's last number, then waits until everyone who held the lock at that
  moment has ended. After that no number up to the noted one can still appear. Writers never wait, nobody
  waits for another schema, and the wait is as long as one insert and commit.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import TextClause, case, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.locks import lock_key, lock_parts
from imex.db.tables.common import Common

FEED_TOPIC = "shares"
"""Rows of this topic stay after publishing: they are the change feed."""

_HOLDERS = (
    "SELECT virtualtransaction FROM pg_locks"
    " WHERE locktype = 'advisory' AND classid = :upper AND objid = :lower AND objsubid = 1 AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_POLL_S = 0.001


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One event that waits to be published."""

    seq: int
    topic: str
    key: str
    value: bytes
    headers: dict[str, str]


async def settled_rows(connection: AsyncConnection, common: Common, limit: int) -> Sequence[OutboxRow]:
    """The oldest unpublished rows, in order, with no number below theirs still to come.

    `connection` must be in autocommit: each statement has to see what has been committed by then.
    """
    statements = _statements(str(common.outbox.schema))
    upper, lower = lock_parts(lock_key("outbox", str(common.outbox.schema)))
    holders = {"upper": upper, "lower": lower}
    # one statement: its snapshot is taken before it looks at the locks, so whoever drew a lower number than
    # the newest row it sees has committed by then, or still holds the lock
    newest, before = (await connection.execute(statements.look, holders)).one()
    if newest is None:
        return ()
    left = set(before)
    while left:
        await asyncio.sleep(_POLL_S)
        left &= set((await connection.execute(statements.holders, holders)).scalars())
    rows = await connection.execute(statements.rows, {"newest": newest, "limit": limit})
    return [OutboxRow(row.seq, row.topic, row.key, bytes(row.value), row.headers) for row in rows]


@dataclass(frozen=True, slots=True)
class _Statements:
    look: TextClause
    holders: TextClause
    rows: TextClause
    remove: TextClause


@cache
def _statements(schema: str) -> _Statements:
    waiting = f"{schema}.outbox WHERE published_at IS NULL"
    return _Statements(
        # NULL where nothing waits: the cheap question of an idle service
        look=text(
            f"SELECT newest, CASE WHEN newest IS NULL THEN '{{}}' ELSE ARRAY({_HOLDERS}) END"  # noqa: S608
            f" FROM (SELECT max(seq) AS newest FROM {waiting}) AS n"
        ),
        holders=text(_HOLDERS),
        rows=text(
            f"SELECT seq, topic, key, value, headers FROM {waiting}"  # noqa: S608 - our own schemas' names
            " AND seq <= :newest ORDER BY seq LIMIT :limit"
        ),
        remove=text(f"DELETE FROM {schema}.outbox WHERE seq = ANY(CAST(:seqs AS bigint[]))"),  # noqa: S608
    )


async def mark_published(connection: AsyncConnection, common: Common, rows: Sequence[OutboxRow]) -> None:
    """Take published rows out of the queue; `connection` is in autocommit.

    Rows of the feed get the next cursors, without gaps: only the relay gives them, it is alone by its
    advisory lock, and the highest one is read and the next ones are written in one transaction.
    """
    outbox = common.outbox
    feed = [row.seq for row in rows if row.topic == FEED_TOPIC]
    if feed:
        await connection.execute(text("BEGIN"))
        highest = await connection.scalar(select(func.max(outbox.c.cursor))) or 0
        numbers = {seq: highest + place for place, seq in enumerate(feed, start=1)}
        await connection.execute(
            update(outbox)
            .where(outbox.c.seq.in_(feed))
            .values(published_at=func.now(), cursor=case(numbers, value=outbox.c.seq))
        )
        await connection.execute(text("COMMIT"))
    others = [row.seq for row in rows if row.topic != FEED_TOPIC]
    if others:
        await connection.execute(_statements(str(outbox.schema)).remove, {"seqs": others})


async def waiting_rows(connection: AsyncConnection, common: Common) -> tuple[int, float]:
    """How many rows wait to be published, and since how many seconds the oldest does."""
    outbox = common.outbox
    found = await connection.execute(
        select(
            func.count(),
            func.coalesce(func.extract("epoch", func.now() - func.min(outbox.c.created_at)), 0),
        ).where(outbox.c.published_at.is_(None))
    )
    count, oldest_s = found.one()
    return int(count), float(oldest_s)
