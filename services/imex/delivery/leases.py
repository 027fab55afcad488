"""Who runs which delivery: claiming due ones, keeping their leases, taking back what was left behind.

A claim locks the destination's row first and counts its associations in a second statement, so that all
processes together open no more than the destination accepts; the deliveries themselves are taken with
SKIP LOCKED. What counts are the associations of running deliveries, and those that other processes keep
open for a while; what this process keeps is used by what it claims. A lease names the process and its
start: a process that was killed and started again finds its own deliveries at once, and one that only was
slow can no longer write for a delivery it has lost.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Row, and_, case, delete, exists, func, not_, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import Database, UnitOfWork
from imex.db.tables.delivery import attempts, deliveries, destinations, instances, kept
from imex.delivery import facts
from imex.delivery.decide import PRIORITIES
from imex.delivery.jobs import Depth, Due, Job, attempt_id, held_by, job_of
from imex.events import Priority

_RANK = case({"emergency": 0, "urgent": 1}, value=deliveries.c.priority, else_=2)
_DUE = and_(deliveries.c.state == "waiting", deliveries.c.next_attempt_at <= func.now())
_DESTINATIONS_DUE = (  # asked for many times a second, and dearer to build than to answer
    select(deliveries.c.recipient, deliveries.c.endpoint, func.min(_RANK).label("rank"))
    .where(_DUE)
    .group_by(deliveries.c.recipient, deliveries.c.endpoint)
    .order_by(func.min(_RANK), func.min(deliveries.c.next_attempt_at))
)
_STOPPED = or_(deliveries.c.withdrawn, deliveries.c.cancelled)
_SENDS = and_(
    exists().where(instances.c.delivery == deliveries.c.id, instances.c.state == "waiting"),
    not_(_STOPPED),
    deliveries.c.expires_at > func.now(),
)
INTERRUPTED = "interrupted: the delivery service was stopped"

Slots = Callable[[int, Priority], int]
"""From associations in use at a destination, and the priority of who asks, to how many more may be opened."""


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
        async with self._database.look() as connection:
            rows = await connection.execute(_DESTINATIONS_DUE)
        return [Due(row.recipient, row.endpoint, row.rank == 0) for row in rows]

    async def claim(
        self, due: Due, slots: Slots, address: str = "", kept_here: int = 0, guests: int = 0
    ) -> list[Job]:
        """Lease deliveries to one destination: emergencies first, then urgent ones, then by age.

        Each may open one association, and takes one of those `kept_here` first. So many further emergencies
        may come as `guests`, without an association. `address` is where they go, as the receipt names it.
        """
        there = _there(due.recipient, due.endpoint)
        async with self._database.unit() as unit:
            if not await _lock_destination(unit, due.recipient, due.endpoint):
                return []
            used = await self._used(unit, due.recipient, due.endpoint)
            places = {priority: slots(used, priority) for priority in PRIORITIES}
            own = max(places.values())
            most = max(own, guests)
            if most == 0:
                return []
            # one that finds no place must not stand before those that do
            able = [one for one, free in places.items() if free or (guests and one == "emergency")]
            candidates = await unit.connection.execute(
                select(deliveries.c.id, deliveries.c.priority)
                .where(_DUE, there, deliveries.c.priority.in_(able))
                .order_by(_RANK, deliveries.c.created_at)
                .limit(most)
                .with_for_update(skip_locked=True)
            )
            chosen = [
                row.id
                for place, row in enumerate(candidates)
                if place < places[row.priority] or (row.priority == "emergency" and place < guests)
            ]
            if kept_here and chosen:
                await self._use_kept(unit, due, min(len(chosen), own))
            hosted = await self._lease_all(unit, chosen[:own], address)
            return hosted + await self._lease_all(unit, chosen[own:], address, associations=0)

    async def _use_kept(self, unit: UnitOfWork, due: Due, number: int) -> None:
        await unit.connection.execute(
            update(kept)
            .where(
                kept.c.recipient == due.recipient,
                kept.c.endpoint == due.endpoint,
                kept.c.holder == self.name,
            )
            .values(number=func.greatest(kept.c.number - number, 0))
        )

    async def forget_kept(self) -> None:
        """None is kept any more: this process stops."""
        async with self._database.unit() as unit:
            await unit.connection.execute(delete(kept).where(kept.c.holder == self.name))

    async def usage(self, destinations: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, int]]:
        """Associations of this process, and of all, by destination."""
        if not destinations:
            return {}
        mine = func.coalesce(
            func.sum(deliveries.c.associations).filter(deliveries.c.leased_by == self.name), 0
        )
        by = (deliveries.c.recipient, deliveries.c.endpoint)
        statement = (
            select(*by, mine.label("mine"), func.sum(deliveries.c.associations).label("all"))
            .where(deliveries.c.state == "running", tuple_(*by).in_(destinations))
            .group_by(*by)
        )
        async with self._database.look() as connection:
            rows = await connection.execute(statement)
        return {(row.recipient, row.endpoint): (int(row.mine), int(row.all)) for row in rows}

    async def _used(self, unit: UnitOfWork, recipient: str, endpoint: str) -> int:
        """Associations that a destination has, or may get at any moment, without those kept here."""
        running = select(func.coalesce(func.sum(deliveries.c.associations), 0)).where(
            _there(recipient, endpoint), deliveries.c.state == "running"
        )
        others = select(func.coalesce(func.sum(kept.c.number), 0)).where(
            kept.c.recipient == recipient,
            kept.c.endpoint == endpoint,
            kept.c.holder != self.name,
            kept.c.until > func.now(),
        )
        return int(
            await unit.connection.scalar(select(running.scalar_subquery() + others.scalar_subquery())) or 0
        )

    async def _lease_all(
        self, unit: UnitOfWork, chosen: Sequence[UUID], address: str, associations: int = 1
    ) -> list[Job]:
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
                associations=case((_SENDS, associations), else_=0),
                ae_title=case((_SENDS, address or deliveries.c.ae_title), else_=deliveries.c.ae_title),
            )
            .returning(deliveries, _SENDS.label("sends"))
        )
        by_id = {row.id: replace(job_of(row), sends=row.sends) for row in rows}
        return [by_id[one] for one in chosen]

    async def widen(self, job: Job, slots: Slots) -> bool:
        """Let a running delivery open one more, where one is free and no delivery waits for it."""
        recipient, endpoint = job.destination
        async with self._database.unit() as unit:
            if not await _lock_destination(unit, recipient, endpoint):
                return False
            waiting = await unit.connection.scalar(
                select(func.count()).where(_DUE, _there(recipient, endpoint))
            )
            used = await self._used(unit, recipient, endpoint)
            if slots(used + (waiting or 0), job.priority) == 0:
                return False
            return await self._change(unit, job, 1)

    async def count_for(self, job: Job) -> None:
        """It uses an association that was another delivery's, which ends."""
        async with self._database.unit() as unit:
            await self._change(unit, job, 1)

    async def narrow(self, job: Job) -> None:
        """Give one of its associations back."""
        async with self._database.unit() as unit:
            await self._change(unit, job, -1)

    async def _change(self, unit: UnitOfWork, job: Job, by: int) -> bool:
        changed = await unit.connection.execute(
            update(deliveries)
            .where(held_by(job), deliveries.c.state == "running")
            .values(associations=deliveries.c.associations + by)
        )
        return changed.rowcount == 1

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
                .values(
                    state="waiting",
                    next_attempt_at=func.now(),
                    leased_by=None,
                    lease_until=None,
                    associations=0,
                )
            )
        return len(rows)


def _there(recipient: str, endpoint: str) -> ColumnElement[bool]:
    return and_(deliveries.c.recipient == recipient, deliveries.c.endpoint == endpoint)


async def _lock_destination(unit: UnitOfWork, recipient: str, endpoint: str) -> bool:
    """Lock its row; false when another process is claiming there at this moment."""
    key = {"recipient": recipient, "endpoint": endpoint}
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
