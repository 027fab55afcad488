"""The trail's tables. A chain's row is locked while it grows, so that there is one writer at a time."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.audit_trail.chain import GENESIS, Head
from imex.db.tables.audit import chains, checkpoints, personal, records


class Repository:
    """Reads and writes inside the caller's transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        """`connection` is in a transaction, which the caller ends."""
        self._connection = connection

    async def lock_chain(self, partition: int) -> Head:
        """The chain's head, locked until the transaction ends."""
        await self._connection.execute(
            pg_insert(chains).values(partition=partition, length=0, head=GENESIS).on_conflict_do_nothing()
        )
        row = (
            await self._connection.execute(
                select(chains).where(chains.c.partition == partition).with_for_update()
            )
        ).one()
        return Head(row.partition, row.length, row.head)

    async def grow(self, head: Head) -> None:
        """Move a locked chain's head."""
        await self._connection.execute(
            update(chains)
            .where(chains.c.partition == head.partition)
            .values(length=head.length, head=head.hash)
        )

    async def add(
        self, record_rows: Sequence[dict[str, Any]], personal_rows: Sequence[dict[str, Any]]
    ) -> None:
        """Append records and what stands beside them."""
        if record_rows:
            await self._connection.execute(insert(records), record_rows)
        if personal_rows:
            await self._connection.execute(insert(personal), personal_rows)

    async def lock_all(self) -> tuple[Head, ...]:
        """The heads of all chains, locked against growth."""
        rows = await self._connection.execute(select(chains).order_by(chains.c.partition).with_for_update())
        return tuple(Head(row.partition, row.length, row.head) for row in rows)

    async def last_checkpoint(self) -> Any | None:
        """The newest checkpoint's row."""
        rows = await self._connection.execute(
            select(checkpoints).order_by(checkpoints.c.sequence.desc()).limit(1)
        )
        return rows.one_or_none()

    async def add_checkpoint(
        self, sequence: int, heads: Sequence[Head], previous: bytes, digest: bytes
    ) -> None:
        """Append a checkpoint."""
        await self._connection.execute(
            insert(checkpoints).values(
                sequence=sequence, heads=[head.as_json() for head in heads], previous=previous, hash=digest
            )
        )
