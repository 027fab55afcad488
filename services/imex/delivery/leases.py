"""Who runs which delivery: claiming due ones, keeping their leases, taking back what was left behind.

A claim locks the destination's row first and counts its associations in a second statement, so that all
processes together open no more than the destination accepts; the deliveries themselves are taken with
SKIP LOCKED. What counts are the associations of running deliveries, and those that other processes keep
open for a while; what this process keeps is used by what it claims. A lease names the process and its
start: a process that was killed and started again finds its own deliveries at once, and one that only was
slow can no longer write for a delivery it has lost.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import (
    ColumnElement,
    Row,
    and_,
    case,
    delete,
    exists,
    func,
    not_,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from imex.db import Database, UnitOfWork
from imex.db.tables.delivery import attempts, deliveries, instances, kept, queues
from imex.db.tables.delivery import destinations as destinations_table
from imex.delivery import destinations, facts
from imex.delivery.controls import move
from imex.delivery.decide import EMERGENCY_PROBE, PRIORITIES
from imex.delivery.jobs import (
    DESTINATION_PAUSED,
    Depth,
    Due,
    Job,
    attempt_id,
    held_by,
    job_of,
    why_stopped,
)
from imex.events import Priority

_DUE = and_(
    deliveries.c.state == "waiting", deliveries.c.paused.is_(None), deliveries.c.next_attempt_at <= func.now()
)
# Asked for many times a second, whatever waits: a few looks into an index for each destination.
_DESTINATIONS_DUE = text(
    """
    SELECT d.recipient, d.endpoint, q.rank
      FROM delivery.destinations AS d
     CROSS JOIN LATERAL (
           SELECT p.rank, w.next_attempt_at
             FROM (VALUES ('emergency', 0), ('urgent', 1), ('routine', 2)) AS p (priority, rank)
            CROSS JOIN LATERAL (
                  SELECT w.next_attempt_at FROM delivery.deliveries AS w
                   WHERE w.recipient = d.recipient AND w.endpoint = d.endpoint AND w.priority = p.priority
                     AND w.state = 'waiting' AND w.paused IS NULL AND w.next_attempt_at <= now()
                   ORDER BY w.next_attempt_at LIMIT 1) AS w
            ORDER BY p.rank LIMIT 1) AS q
     WHERE d.paused IS NULL
       AND (d.probe_at IS NULL OR d.probe_at <= now()
            OR (q.rank = 0 AND d.failed_at <= now() - CAST(:sooner AS interval)))
     ORDER BY q.rank, q.next_attempt_at
    """
)
# By priority; within one the senders take turns, who was served longest ago first; of one sender by age.
_IN_TURN = text(
    """
    SELECT d.id, d.priority, d.source
      FROM (SELECT w.id, p.rank, q.served_at, w.created_at,
                   row_number() OVER (PARTITION BY p.rank, q.source ORDER BY w.created_at, w.id) AS turn
              FROM unnest(CAST(:priorities AS text[])) WITH ORDINALITY AS p (priority, rank)
             CROSS JOIN delivery.queues AS q
             CROSS JOIN LATERAL (
                   SELECT w.id, w.created_at FROM delivery.deliveries AS w
                    WHERE w.recipient = q.recipient AND w.endpoint = q.endpoint AND w.priority = p.priority
                      AND w.source = q.source AND w.state = 'waiting' AND w.paused IS NULL
                      AND w.next_attempt_at <= now()
                    ORDER BY w.created_at LIMIT :most) AS w
             WHERE q.recipient = :recipient AND q.endpoint = :endpoint
             ORDER BY p.rank, turn, q.served_at NULLS FIRST, w.created_at, w.id
             LIMIT :most) AS c
      JOIN delivery.deliveries AS d ON d.id = c.id
     WHERE d.state = 'waiting' AND d.paused IS NULL
     ORDER BY c.rank, c.turn, c.served_at NULLS FIRST, c.created_at, c.id
       FOR UPDATE OF d SKIP LOCKED
    """
)
_STOPPED = or_(deliveries.c.withdrawn, deliveries.c.cancelled)
_SENDS = and_(
    exists().where(instances.c.delivery == deliveries.c.id, instances.c.state.in_(("waiting", "sent"))),
    not_(_STOPPED),
    deliveries.c.expires_at > func.now(),
)
_RANKED: Final[tuple[Priority, ...]] = ("emergency", "urgent", "routine")
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
            rows = await connection.execute(_DESTINATIONS_DUE, {"sooner": EMERGENCY_PROBE})
        return [Due(row.recipient, row.endpoint, row.rank == 0) for row in rows]

    async def claim(
        self, due: Due, slots: Slots, address: str = "", kept_here: int = 0, guests: int = 0
    ) -> list[Job]:
        """Lease deliveries to one destination: emergencies first, then urgent ones; of senders in turn.

        To one that is away goes one at a time, to find out whether it is back, and to a paused one none.
        Each may open one association, and takes one of those `kept_here` first. So many further emergencies
        may come as `guests`, without an association. `address` is where they go, as the receipt names it.
        """
        async with self._database.unit() as unit:
            standing = await destinations.lock(unit, due.recipient, due.endpoint)
            if standing is None or standing.paused:
                return []
            used = await self._used(unit, due.recipient, due.endpoint)
            places = {priority: slots(used, priority) for priority in PRIORITIES}
            own = max(places.values())
            most = max(own, guests)
            if most == 0:
                return []
            if standing.probing:
                return await self._probe(unit, due, standing, places, address)
            # one that finds no place must not stand before those that do
            able = [one for one, free in places.items() if free or (guests and one == "emergency")]
            candidates = await self._in_turn(unit, due, able, most)
            chosen = [
                row.id
                for place, row in enumerate(candidates)
                if place < places[row.priority] or (row.priority == "emergency" and place < guests)
            ]
            await _served(unit, due, {row.source for row in candidates if row.id in chosen})
            if kept_here and chosen:
                await self._use_kept(unit, due, min(len(chosen), own))
            hosted = await self._lease_all(unit, chosen[:own], address)
            return hosted + await self._lease_all(unit, chosen[own:], address, associations=0)

    async def _in_turn(
        self, unit: UnitOfWork, due: Due, priorities: Sequence[Priority], most: int
    ) -> Sequence[Row[Any]]:
        ranked = [one for one in _RANKED if one in priorities]
        there = {"recipient": due.recipient, "endpoint": due.endpoint}
        return (await unit.connection.execute(_IN_TURN, {**there, "priorities": ranked, "most": most})).all()

    async def _probe(
        self,
        unit: UnitOfWork,
        due: Due,
        standing: destinations.Standing,
        places: Mapping[Priority, int],
        address: str,
    ) -> list[Job]:
        """One delivery asks whether the destination is back, of those that have failed the longest untried.

        So the others make no attempt. An emergency goes first, and need not wait for the probe's time.
        """
        there = _there(due.recipient, due.endpoint)
        running = exists().where(there, deliveries.c.state == "running", deliveries.c.associations > 0)
        if await unit.connection.scalar(select(running)):
            return []
        free = [one for one, number in places.items() if number]
        able = and_(there, deliveries.c.priority.in_(free))
        looks = []
        if standing.emergency_due or standing.probe_due:
            looks.append(and_(able, _DUE, deliveries.c.priority == "emergency"))
        if standing.probe_due:
            # one that has only to be asked for sends nothing, and says less
            to_send = exists().where(instances.c.delivery == deliveries.c.id, instances.c.state == "waiting")
            failing = and_(deliveries.c.state == "waiting", deliveries.c.failures > 0, to_send)
            looks.append(and_(able, failing, deliveries.c.paused.is_(None)))
        for look in looks:
            found = await unit.connection.execute(
                select(deliveries.c.id)
                .where(look)
                .order_by(deliveries.c.started_at.nulls_first(), deliveries.c.created_at)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            if chosen := [row.id for row in found]:
                return await self._lease_probe(unit, chosen, address)
        if standing.probe_due:
            chosen = [row.id for row in await self._in_turn(unit, due, free, 1)]
            return await self._lease_probe(unit, chosen, address)
        return []

    async def _lease_probe(self, unit: UnitOfWork, chosen: Sequence[UUID], address: str) -> list[Job]:
        return [replace(job, probe=True) for job in await self._lease_all(unit, chosen, address)]

    async def claim_settling(self, most: int) -> list[Job]:
        """Lease deliveries of which nothing is to be sent, wherever they go: a receipt is due, or the end."""
        if most <= 0:
            return []
        d = deliveries.c
        async with self._database.unit() as unit:
            found: list[UUID] = []
            for due in (
                and_(d.only_to_settle, d.next_attempt_at <= func.now()),
                d.expires_at <= func.now(),
            ):
                rows = await unit.connection.execute(
                    select(d.id)
                    .where(d.state == "waiting", due, d.id.not_in(found))
                    .limit(most - len(found))
                    .with_for_update(skip_locked=True)
                )
                found += [row.id for row in rows]
            return await self._lease_all(unit, found, "", associations=0)

    async def find_queues(self) -> int:
        """Make the rows that claims go by, where deliveries wait without; how many were missing."""
        return await destinations.find_queues(self._database)

    async def forget_moved(self, place: Callable[[str, str], str]) -> int:
        """Ask destinations again at once that have another address now; `place` says which."""
        return await destinations.forget_moved(self._database, place)

    async def held(self) -> list[destinations.Held]:
        """Destinations to which nothing goes at the moment."""
        return await destinations.held(self._database)

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
            standing = await destinations.lock(unit, recipient, endpoint)
            if standing is None or standing.paused or standing.probing:
                return False
            # whoever holds its row may wait for the destination's
            own = select(deliveries.c.id).where(held_by(job)).with_for_update(skip_locked=True)
            if (await unit.connection.execute(own)).first() is None:
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

    async def renew(self, jobs: Collection[UUID]) -> dict[UUID, str]:
        """Lengthen leases; the deliveries still held, each with why it is to stop, in words, or without."""
        if not jobs:
            return {}
        d = deliveries.c
        async with self._database.unit() as unit:
            rows = await unit.connection.execute(
                update(deliveries)
                .where(d.id.in_(jobs), d.leased_by == self.name)
                .values(lease_until=func.now() + self._lease)
                .returning(d.id, d.recipient, d.endpoint, why_stopped().label("why"))
            )
            held = rows.all()
            there = destinations_table.c
            paused = await unit.connection.execute(
                select(there.recipient, there.endpoint).where(there.paused.is_not(None))
            )
            all_paused = {(row.recipient, row.endpoint) for row in paused}
        return {
            row.id: row.why or (DESTINATION_PAUSED if (row.recipient, row.endpoint) in all_paused else "")
            for row in held
        }

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
            for row in rows:
                if row.reroute_to is not None:
                    await move(unit, await _as_it_is(unit, row.id), row.reroute_to)
        return len(rows)


async def _as_it_is(unit: UnitOfWork, delivery: UUID) -> Row[Any]:
    return (await unit.connection.execute(select(deliveries).where(deliveries.c.id == delivery))).one()


def _there(recipient: str, endpoint: str) -> ColumnElement[bool]:
    return and_(deliveries.c.recipient == recipient, deliveries.c.endpoint == endpoint)


async def _served(unit: UnitOfWork, due: Due, sources: Collection[str]) -> None:
    """These senders have had their turn."""
    if sources:
        await unit.connection.execute(
            update(queues)
            .where(
                queues.c.recipient == due.recipient,
                queues.c.endpoint == due.endpoint,
                queues.c.source.in_(sorted(sources)),
            )
            .values(served_at=func.clock_timestamp())
        )


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
