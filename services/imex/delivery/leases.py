"""Who runs which delivery: claiming due ones, keeping their leases, taking back what was left behind.

A claim locks the destination's row first and counts its running deliveries in a second statement, so that
two processes cannot start more than the destination accepts; the deliveries themselves are taken with
SKIP LOCKED. A lease names the process and its start: a process that was killed and started again finds its
own deliveries at once, and one that only was slow can no longer write for a delivery it has lost.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Row, and_, case, exists, func, not_, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import Database, UnitOfWork
from imex.db.tables.delivery import attempts, deliveries, destinations, instances
from imex.delivery import facts
from imex.delivery.jobs import Depth, Due, Job, attempt_id, job_of

_RANK = case({"emergency": 0, "urgent": 1}, value=deliveries.c.priority, else_=2)
_DUE = and_(deliveries.c.state == "waiting", deliveries.c.next_attempt_at <= func.now())
_STOPPED = or_(deliveries.c.withdrawn, deliveries.c.cancelled)
_SENDS = and_(
    exists().where(instances.c.delivery == deliveries.c.id, instances.c.state == "waiting"),
    not_(_STOPPED),
    deliveries.c.expires_at > func.now(),
)
INTERRUPTED = "interrupted: the delivery service was stopped"

Slots = Callable[[int, bool], int]
"""From deliveries running at a destination, and whether for an emergency, to how many more may start."""


class Leases:
    """The claims of one process. All methods raise what the database raises."""

    def __init__(self, database: Database, instance: str, lease: timedelta) -> None:
        """`instance` is the stable name of this process; no two that run at once may share it."""
        self._database = database
        self._instance = instance
        self._lease = lease
        self.name = f"{instance}/{uuid4().hex[:12]}"

    async def due(self) -> list[Due]:
        """Destinations with deliveries to start now, the most urgent and then the longest waiting first."""
        statement = (
            select(deliveries.c.recipient, deliveries.c.endpoint, func.min(_RANK).label("rank"))
            .where(_DUE)
            .group_by(deliveries.c.recipient, deliveries.c.endpoint)
            .order_by(func.min(_RANK), func.min(deliveries.c.next_attempt_at))
        )
        async with self._database.look() as connection:
            rows = await connection.execute(statement)
        return [Due(row.recipient, row.endpoint, row.rank == 0) for row in rows]

    async def claim(self, due: Due, slots: Slots) -> list[Job]:
        """Lease deliveries to one destination: emergencies first, then urgent ones, then by age."""
        there = and_(deliveries.c.recipient == due.recipient, deliveries.c.endpoint == due.endpoint)
        async with self._database.unit() as unit:
            if not await _lock_destination(unit, due):
                return []
            running = await unit.connection.scalar(
                select(func.count()).where(there, deliveries.c.state == "running")
            )
            most = slots(running or 0, True)
            if most == 0:
                return []
            candidates = await unit.connection.execute(
                select(deliveries.c.id, deliveries.c.priority)
                .where(_DUE, there)
                .order_by(_RANK, deliveries.c.created_at)
                .limit(most)
                .with_for_update(skip_locked=True)
            )
            ordinary = slots(running or 0, False)
            chosen = [
                row.id
                for place, row in enumerate(candidates)
                if row.priority == "emergency" or place < ordinary
            ]
            return await self._lease_all(unit, chosen)

    async def _lease_all(self, unit: UnitOfWork, chosen: Sequence[UUID]) -> list[Job]:
        if not chosen:
            return []
        rows = await unit.connection.execute(
            update(deliveries)
            .where(deliveries.c.id.in_(chosen))
            .values(
                state="running",
                started_at=func.now(),
                leased_by=self.name,
                lease_until=func.now() + self._lease,
                attempts=deliveries.c.attempts + case((_SENDS, 1), else_=0),
            )
            .returning(deliveries, _SENDS.label("sends"))
        )
        by_id = {row.id: replace(job_of(row), sends=row.sends) for row in rows}
        return [by_id[one] for one in chosen]

    async def renew(self, jobs: Collection[UUID]) -> dict[UUID, bool]:
        """Lengthen leases; the deliveries still held, each with whether it is to stop."""
        if not jobs:
            return {}
        async with self._database.unit() as unit:
            rows = await unit.connection.execute(
                update(deliveries)
                .where(deliveries.c.id.in_(jobs), deliveries.c.leased_by == self.name)
                .values(lease_until=func.now() + self._lease)
                .returning(deliveries.c.id, _STOPPED.label("stopped"))
            )
            return {row.id: row.stopped for row in rows}

    async def depths(self) -> list[Depth]:
        """How many deliveries have not ended, by recipient, priority and state."""
        by = (deliveries.c.recipient, deliveries.c.priority, deliveries.c.state)
        async with self._database.look() as connection:
            rows = await connection.execute(
                select(*by, func.count().label("number")).where(deliveries.c.state != "ended").group_by(*by)
            )
            return [Depth(row.recipient, row.priority, row.state, row.number) for row in rows]

    async def recover(self, running: Collection[UUID] = ()) -> int:
        """Take back deliveries whose lease ran out, or that this process held before it was started.

        Each goes on at once, and its timeline says that an attempt was interrupted. What is `running` here
        stays: its lease only could not be renewed, and sending it a second time would help nobody.
        """
        mine = and_(
            deliveries.c.leased_by.startswith(f"{self._instance}/", autoescape=True),
            deliveries.c.leased_by != self.name,
        )
        ran_out = and_(
            deliveries.c.lease_until < func.now(),
            or_(deliveries.c.leased_by != self.name, deliveries.c.id.not_in(list(running))),
        )
        return await self._give_back(or_(ran_out, mine))

    async def release(self, jobs: Iterable[UUID]) -> int:
        """Give back deliveries of this process whose work was cut off."""
        return await self._give_back(
            and_(deliveries.c.id.in_(list(jobs)), deliveries.c.leased_by == self.name)
        )

    async def _give_back(self, which: ColumnElement[bool]) -> int:
        now = datetime.now(UTC)
        async with self._database.unit() as unit:
            rows = (
                await unit.connection.execute(
                    select(deliveries)
                    .where(deliveries.c.state == "running", which)
                    .with_for_update(skip_locked=True)
                )
            ).all()
            if not rows:
                return 0
            for row in rows:
                await _note_interruption(unit, row, now)
            await unit.connection.execute(
                update(deliveries)
                .where(deliveries.c.id.in_([row.id for row in rows]))
                .values(state="waiting", next_attempt_at=func.now(), leased_by=None, lease_until=None)
            )
        return len(rows)


async def _lock_destination(unit: UnitOfWork, due: Due) -> bool:
    """Lock its row; false when another process is claiming there at this moment."""
    key = {"recipient": due.recipient, "endpoint": due.endpoint}
    locking = select(destinations.c.endpoint).filter_by(**key).with_for_update(skip_locked=True)
    if (await unit.connection.execute(locking)).first() is not None:
        return True
    made = insert(destinations).values(**key).on_conflict_do_nothing().returning(destinations.c.endpoint)
    return (await unit.connection.execute(made)).first() is not None


async def _note_interruption(unit: UnitOfWork, row: Row[Any], now: datetime) -> None:
    """An attempt that nobody ended gets its end, unless nothing was being sent."""
    job = job_of(row)
    if job.attempt == 0:
        return
    confirmed = await unit.connection.scalar(
        select(func.count()).where(
            instances.c.delivery == job.id,
            instances.c.state == "confirmed",
            instances.c.at >= job.started_at,
        )
    )
    made = await unit.connection.execute(
        insert(attempts)
        .values(
            id=attempt_id(job.id, job.attempt),
            delivery=job.id,
            number=job.attempt,
            started_at=job.started_at,
            ended_at=now,
            outcome="failed",
            reason=INTERRUPTED,
            confirmed=confirmed or 0,
        )
        .on_conflict_do_nothing()
        .returning(attempts.c.id)
    )
    if made.first() is not None:
        unit.publish(
            facts.attempted(
                job, reason=INTERRUPTED, ended_at=now, confirmed=confirmed or 0, next_attempt_at=now
            )
        )
