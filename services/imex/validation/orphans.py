"""Objects that no judgement knows: what a C-STORE left that was answered with a failure.

Nobody was told that they are safe. They go once no event of theirs can come any more: Kafka keeps an event
for 7 days, and its dead letter for 7 more.
"""

from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import exists, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db import Database
from imex.db.bulk import insert_rows
from imex.db.tables.validation import common, disposals, swept
from imex.events.audit import Actor, AuditRecorded, AuditRecordedData
from imex.events.ids import derived
from imex.storage import ObjectInfo, ObjectStore

log = structlog.get_logger(__name__)

SAFE_AFTER: Final = timedelta(days=15)
"""The least: an event's retention, its dead letter's, and a day."""
_LOOKED_UP: Final = 1000
_KNOWN = text(
    "SELECT k.id FROM unnest(CAST(:ids AS uuid[])) AS k(id)"
    " WHERE EXISTS (SELECT 1 FROM validation.judgements j WHERE j.event_id = k.id)"
)


class Orphans:
    """Looks through the store, an institution and a day at a time, and remembers how far it came."""

    def __init__(
        self,
        database: Database,
        payloads: ObjectStore,
        institutions: Callable[[], Collection[str]],
        clock: Callable[[], datetime],
        *,
        after: timedelta,
        found: Callable[[int], None],
    ) -> None:
        """`institutions` are those of the directory; those that it named before are remembered."""
        if after < SAFE_AFTER:
            raise ValueError(f"an object is no orphan before {SAFE_AFTER.days} days have passed")
        self._database = database
        self._payloads = payloads
        self._institutions = institutions
        self._after = after
        self._clock = clock
        self._found = found

    async def turn(self) -> bool:
        """Look through one day of one institution; true where another one is due."""
        last = (self._clock() - self._after).date()
        async with self._database.unit() as unit:
            if await unit.connection.scalar(select(exists().where(common.parked.c.topic.is_not(None)))):
                return False  # what is set aside may be about any of them
            await insert_rows(
                unit.connection,
                swept,
                [{"institution": code} for code in sorted(self._institutions())],
                conflict="skip",
            )
            due = (
                await unit.connection.execute(
                    select(swept)
                    .where(swept.c.through.is_(None) | (swept.c.through < _midnight(last)))
                    .order_by(swept.c.through.nulls_first(), swept.c.institution)
                    .limit(1)
                    .with_for_update(skip_locked=True)
                )
            ).one_or_none()
            if due is None:
                return False
            day = await self._first_day(due.institution, due.through, last)
            orphans = await self._of(unit.connection, due.institution, day) if day <= last else []
            await insert_rows(
                unit.connection, disposals, [{"object_key": key} for key in orphans], conflict="skip"
            )
            through = min(day, last)
            await unit.connection.execute(
                insert(swept)
                .values(institution=due.institution, through=_midnight(through))
                .on_conflict_do_update(index_elements=["institution"], set_={"through": _midnight(through)})
            )
            if orphans:
                log.warning("orphans are deleted", source=due.institution, day=str(day), number=len(orphans))
                unit.publish(_audited(due.institution, day, len(orphans)))
        self._found(len(orphans))
        return True

    async def _first_day(self, institution: str, through: datetime | None, last: date) -> date:
        """The next day of which there are objects; one behind `last` where there is none."""
        if through is not None:
            return through.astimezone(UTC).date() + timedelta(days=1)
        async for info in self._payloads.list(f"{institution}/"):
            if (day := _day_of(info.key)) is not None:
                return day
        return last + timedelta(days=1)

    async def _of(self, connection: AsyncConnection, institution: str, day: date) -> list[str]:
        before = self._clock() - SAFE_AFTER
        orphans: list[str] = []
        page: dict[UUID, str] = {}
        async for info in self._payloads.list(f"{institution}/{day.isoformat()}/"):
            event = _event_of(info)
            if event is None or info.modified > before:
                continue
            page[event] = info.key
            if len(page) == _LOOKED_UP:
                orphans += await _unknown(connection, page)
                page = {}
        return orphans + await _unknown(connection, page)


async def _unknown(connection: AsyncConnection, page: dict[UUID, str]) -> list[str]:
    rows = await connection.execute(_KNOWN, {"ids": list(page)})
    known = set(rows.scalars())
    return [key for event, key in page.items() if event not in known]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _day_of(key: str) -> date | None:
    parts = key.split("/")
    try:
        return date.fromisoformat(parts[1]) if len(parts) == 3 else None
    except ValueError:
        return None


def _event_of(info: ObjectInfo) -> UUID | None:
    """The id of the event that an object belongs to, in which its key ends; None where it is not ingest's."""
    try:
        return UUID(info.key.rpartition("/")[2])
    except ValueError:
        return None


def _audited(institution: str, day: date, number: int) -> AuditRecorded:
    return AuditRecorded.of(
        id=derived("orphans", institution, day.isoformat()),
        subject=institution,
        data=AuditRecordedData(
            action="payloads_deleted",
            outcome="success",
            actor=Actor(kind="service", id="validation"),
            source=institution,
            reason="they were never acknowledged to their sender",
            counts={"objects": number},
            details={"day": day.isoformat()},
        ),
    )
