"""Objects written for inboxes of which no row tells: a crash came between the object and its row.

Nobody can read them, and nobody would ever delete them. A row can still come while a process that has
written one waits for the database. So no row is written of what was placed more than `ROW_WITHIN` ago (it is
placed once more), and no object is an orphan before twice that time has passed.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db import Database
from imex.db.tables.delivery import inbox_instances, inbox_sweep
from imex.events.audit import Actor, AuditRecorded, AuditRecordedData
from imex.events.ids import derived
from imex.storage import ObjectInfo, ObjectStore, StoreError, delete_all
from imex.storage.keys import INBOX_PREFIX

log = structlog.get_logger(__name__)

ROW_WITHIN: Final = timedelta(hours=24)
"""Of what was placed longer ago no row is written any more."""
SAFE_AFTER: Final = 2 * ROW_WITHIN
"""An object without a row is nobody's after this long; clocks may differ by hours."""
EVERY: Final = timedelta(days=1)
"""Between the beginnings of two looks through all of them."""
_PAGE: Final = 1000
_DAY_DIGITS: Final = 10


class InboxOrphans:
    """Looks through what is below `_inbox/`, a page at a time, and remembers how far it came."""

    def __init__(self, database: Database, store: ObjectStore, clock: Callable[[], datetime]) -> None:
        """All processes of delivery may turn: one of them looks at a time."""
        self._database = database
        self._store = store
        self._clock = clock

    async def turn(self) -> bool:
        """Look through a page; true where another one is due. It may be killed at any point.

        Raises what the store raises when it is away.
        """
        now = self._clock()
        async with self._database.unit() as unit:
            await unit.connection.execute(insert(inbox_sweep).values(id=1).on_conflict_do_nothing())
            row = (
                await unit.connection.execute(select(inbox_sweep).with_for_update(skip_locked=True))
            ).one_or_none()
            if row is None or (not row.after and row.began_at is not None and now < row.began_at + EVERY):
                return False
            page = await self._page(row.after, now)
            orphans = await _without_row(unit.connection, page, now)
            try:
                gone = await delete_all(self._store, orphans)
            except StoreError:
                gone = set()  # each was told; they are come upon again the next day
            values = {"after": page[-1].key if page else ""}
            await unit.connection.execute(
                update(inbox_sweep).values(values if row.after else {**values, "began_at": now})
            )
            if gone:
                log.warning("orphans of inboxes are deleted", number=len(gone))
                unit.publish(_audited(page[0].key, now, len(gone)))
        return bool(page)

    async def _page(self, after: str, now: datetime) -> list[ObjectInfo]:
        """The next objects that are old enough, in the order of their keys, which is that of their days."""
        page: list[ObjectInfo] = []
        last = (now - SAFE_AFTER).astimezone(UTC).date()
        day = _day_of(after)
        while day is None or day <= last:
            prefix = INBOX_PREFIX if day is None else f"{INBOX_PREFIX}{day.isoformat()}/"
            async for info in self._store.list(prefix):
                found = _day_of(info.key)
                if found is not None and found > last:
                    return page
                if info.key > after:
                    page.append(info)
                if len(page) == _PAGE:
                    return page
            if day is None:
                return page
            day += timedelta(days=1)
        return page


async def _without_row(connection: AsyncConnection, page: list[ObjectInfo], now: datetime) -> list[str]:
    old = [info.key for info in page if info.modified <= now - SAFE_AFTER]
    i = inbox_instances.c
    rows = await connection.execute(select(i.object_key).where(i.own, i.object_key.in_(old)))
    known = set(rows.scalars())
    return [key for key in old if key not in known]


def _day_of(key: str) -> date | None:
    """The day in a key that delivery has made; None in another one."""
    begin = len(INBOX_PREFIX)
    try:
        return date.fromisoformat(key[begin : begin + _DAY_DIGITS])
    except ValueError:
        return None


def _audited(first: str, now: datetime, number: int) -> AuditRecorded:
    return AuditRecorded.of(
        id=derived("inbox orphans", first, now.isoformat()),
        subject="delivery",
        data=AuditRecordedData(
            action="payloads_deleted",
            outcome="success",
            actor=Actor(kind="service", id="delivery"),
            reason="they were written for an inbox and never recorded there",
            counts={"objects": number},
        ),
    )
