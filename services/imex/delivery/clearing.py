"""Clears inboxes of what was written for them, once nothing of it may be read any more."""

from typing import Final
from uuid import UUID

from sqlalchemy import delete, select, tuple_

from imex.db import Database
from imex.db.tables.delivery import deliveries, inbox_instances, inbox_shares
from imex.storage import ObjectStore, delete_all

BATCH: Final = 200
_FIRST: Final = (UUID(int=0), "")


class Clearing:
    """A loop's turns. It may be killed at any point."""

    def __init__(self, database: Database, store: ObjectStore) -> None:
        """`store` has what was changed on its way into inboxes; payloads are for validation to delete."""
        self._database = database
        self._store = store
        self._after: tuple[UUID, str] = _FIRST

    async def turn(self) -> bool:
        """Delete some objects of withdrawn deliveries; true where more may be.

        What the store does not delete is passed over until all others had their turn. Raises what the store
        raises when it is away.
        """
        here = tuple_(inbox_instances.c.share, inbox_instances.c.sop_instance_uid)
        i = inbox_instances.c
        async with self._database.unit() as unit:
            found = await unit.connection.execute(
                select(i.share, i.sop_instance_uid, i.object_key)
                .join(inbox_shares, inbox_shares.c.share == i.share)
                .join(deliveries, deliveries.c.id == inbox_shares.c.delivery)
                .where(i.own, deliveries.c.withdrawn, here > self._after)
                .order_by(i.share, i.sop_instance_uid)
                .limit(BATCH)
                .with_for_update(of=inbox_instances, skip_locked=True)
            )
            rows = list(found)
            done = await delete_all(self._store, [row.object_key for row in rows])
            gone = [(row.share, row.sop_instance_uid) for row in rows if row.object_key in done]
            if gone:
                await unit.connection.execute(
                    delete(inbox_instances).where(tuple_(i.share, i.sop_instance_uid).in_(gone))
                )
        more = len(rows) == BATCH
        self._after = (rows[-1].share, rows[-1].sop_instance_uid) if more else _FIRST
        return more
