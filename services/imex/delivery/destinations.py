"""What holds for all deliveries to one destination: a person's pause, and the circuit breaker.

The breaker is a row, so that all processes share it. While attempts of several deliveries in a row got
nothing through, one delivery at a time asks the destination, at the pace of
`imex.delivery.decide.probe_wait`, and the others wait without an attempt. The first instance that is
confirmed lets all of them go on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import Database, UnitOfWork
from imex.db.tables.delivery import deliveries, destinations
from imex.delivery import decide
from imex.delivery.jobs import Job


@dataclass(frozen=True, slots=True)
class Standing:
    """How a destination stands; its row is locked by who reads it."""

    paused: bool = False
    probing: bool = False
    """One delivery at a time asks whether it is back."""
    probe_due: bool = False
    emergency_due: bool = False
    """An emergency need not wait for the next probe any more."""


async def lock(unit: UnitOfWork, recipient: str, endpoint: str) -> Standing | None:
    """Lock its row, making it where there is none; None when another process is claiming there now."""
    d = destinations.c
    sooner = d.failed_at + decide.EMERGENCY_PROBE
    locking = (
        select(
            d.paused.is_not(None),
            d.probe_at.is_not(None),
            func.coalesce(d.probe_at <= func.now(), False),
            func.coalesce(sooner <= func.now(), False),
        )
        .where(_one(recipient, endpoint))
        .with_for_update(skip_locked=True)
    )
    if (row := (await unit.connection.execute(locking)).first()) is not None:
        return Standing(*row)
    made = insert(destinations).values(recipient=recipient, endpoint=endpoint).on_conflict_do_nothing()
    if (await unit.connection.execute(made.returning(d.endpoint))).first() is not None:
        return Standing()
    return None


async def got_nothing_through(
    unit: UnitOfWork, job: Job, *, reason: str, place: str, now: datetime, draw: float, not_before: datetime
) -> None:
    """An attempt ended with nothing, and it was the destination's trouble and not an instance's.

    It is not asked again `not_before`, which may be its own word.
    """
    d = destinations.c
    where = _one(*job.destination)
    row = (
        await unit.connection.execute(
            select(d.failed_by, d.failures, d.failing_since, d.failed_place).where(where).with_for_update()
        )
    ).first()
    if row is None:
        return
    same = row.failed_place == place
    failed_by: list[UUID] = list(row.failed_by) if same else []
    if job.id not in failed_by:
        failed_by = [*failed_by, job.id][-decide.BREAKER_DELIVERIES :]
    failures = row.failures + 1 if same else 1
    since = (row.failing_since if same else None) or now
    probe_at = None
    if len(failed_by) >= decide.BREAKER_DELIVERIES:
        beyond = failures - decide.BREAKER_DELIVERIES + 1
        turns = await _failing(unit, job)
        probe_at = max(now + decide.probe_wait(beyond, now - since, draw, turns), not_before)
    await unit.connection.execute(
        update(destinations)
        .where(where)
        .values(
            failed_by=failed_by,
            failures=failures,
            failing_since=since,
            failed_at=now,
            failed_reason=reason,
            failed_place=place,
            probe_at=probe_at,
        )
    )


async def asked_in_vain(unit: UnitOfWork, job: Job, *, now: datetime, draw: float) -> None:
    """A probe ended with nothing, and nothing was learnt of the destination: the next one has its time."""
    d = destinations.c
    where = and_(_one(*job.destination), d.probe_at.is_not(None))
    row = (
        await unit.connection.execute(select(d.failures, d.failing_since).where(where).with_for_update())
    ).first()
    if row is None:
        return
    probes = max(row.failures - decide.BREAKER_DELIVERIES + 1, 1)
    wait = decide.probe_wait(probes, now - (row.failing_since or now), draw, await _failing(unit, job))
    probe_at = now + wait
    await unit.connection.execute(update(destinations).where(where).values(probe_at=probe_at))


async def _failing(unit: UnitOfWork, job: Job) -> int:
    """How many deliveries take turns at asking, this one among them; all that need be told apart."""
    d = deliveries.c
    others = (
        select(d.id)
        .where(d.recipient == job.recipient, d.endpoint == job.endpoint, d.id != job.id)
        .where(d.state == "waiting", d.failures > 0)
        .limit(_MOST_TURNS)
    )
    return 1 + (await unit.connection.scalar(select(func.count()).select_from(others.subquery())) or 0)


_MOST_TURNS: Final = 60


async def reached(unit: UnitOfWork, recipient: str, endpoint: str) -> bool:
    """It is there: whoever waited because it was not goes on now. Whether it had been away."""
    changed = await unit.connection.execute(
        update(destinations).where(_one(recipient, endpoint), destinations.c.failures > 0).values(_UNBROKEN)
    )
    if not changed.rowcount:
        return False
    await wake(unit, recipient, endpoint)
    return True


async def wake(unit: UnitOfWork, recipient: str, endpoint: str) -> None:
    """What waits for a destination that is back need not sit out its back-off."""
    d = deliveries.c
    theirs = (
        select(d.id)
        .where(
            d.recipient == recipient,
            d.endpoint == endpoint,
            d.state == "waiting",
            d.failures > 0,
            d.next_attempt_at > func.now(),
        )
        .with_for_update(skip_locked=True)
    )
    await unit.connection.execute(
        update(deliveries).where(d.id.in_(theirs)).values(next_attempt_at=func.now())
    )


async def ask_again(unit: UnitOfWork, recipient: str, endpoint: str) -> None:
    """Forget how it failed: the next attempts are made as if it never had."""
    await unit.connection.execute(
        update(destinations).where(_one(recipient, endpoint), destinations.c.failures > 0).values(_UNBROKEN)
    )


async def forget_moved(database: Database, place: Callable[[str, str], str]) -> int:
    """Ask destinations again at once that have another address now, as `place` knows; how many there were."""
    d = destinations.c
    async with database.unit() as unit:
        rows = await unit.connection.execute(
            select(d.recipient, d.endpoint, d.failed_place)
            .where(d.failures > 0)
            .order_by(d.recipient, d.endpoint)  # two processes wait for each other in one direction only
        )
        moved = [row for row in rows if place(row.recipient, row.endpoint) != row.failed_place]
        for row in moved:
            await reached(unit, row.recipient, row.endpoint)
    return len(moved)


# One look into an index for each recipient, endpoint, priority and sender, whatever waits.
_FIND = text(
    """
    WITH RECURSIVE seen AS (
        (SELECT recipient, endpoint, priority, source FROM delivery.deliveries
          WHERE state = 'waiting' AND paused IS NULL
          ORDER BY recipient, endpoint, priority, source LIMIT 1)
        UNION ALL
        SELECT n.* FROM seen AS s CROSS JOIN LATERAL (
               SELECT d.recipient, d.endpoint, d.priority, d.source FROM delivery.deliveries AS d
                WHERE d.state = 'waiting' AND d.paused IS NULL
                  AND (d.recipient, d.endpoint, d.priority, d.source)
                      > (s.recipient, s.endpoint, s.priority, s.source)
                ORDER BY d.recipient, d.endpoint, d.priority, d.source LIMIT 1) AS n
    ), places AS (
        INSERT INTO delivery.destinations (recipient, endpoint)
        SELECT DISTINCT recipient, endpoint FROM seen AS s
         WHERE NOT EXISTS (SELECT 1 FROM delivery.destinations AS d
                            WHERE d.recipient = s.recipient AND d.endpoint = s.endpoint)
         ORDER BY recipient, endpoint ON CONFLICT DO NOTHING RETURNING 1
    ), senders AS (
        INSERT INTO delivery.queues (recipient, endpoint, source)
        SELECT DISTINCT recipient, endpoint, source FROM seen AS s
         WHERE NOT EXISTS (SELECT 1 FROM delivery.queues AS q
                            WHERE q.recipient = s.recipient AND q.endpoint = s.endpoint
                              AND q.source = s.source)
         ORDER BY recipient, endpoint, source ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT (SELECT count(*) FROM places) + (SELECT count(*) FROM senders)
    """
)


async def find_queues(database: Database) -> int:
    """Make the rows that claims go by, where deliveries wait without; how many were missing.

    Whoever writes a delivery writes them too, but for processes of a release that knew neither: they run
    beside this one while it is rolled out.
    """
    async with database.unit() as unit:
        return await unit.connection.scalar(_FIND) or 0


@dataclass(frozen=True, slots=True)
class Held:
    """A destination to which nothing goes at the moment, and why."""

    recipient: str
    endpoint: str
    why: str
    """paused | away"""


async def held(database: Database) -> list[Held]:
    """All of them."""
    d = destinations.c
    async with database.look() as connection:
        rows = await connection.execute(
            select(d.recipient, d.endpoint, d.paused).where(d.paused.is_not(None) | d.probe_at.is_not(None))
        )
        return [Held(row.recipient, row.endpoint, "paused" if row.paused else "away") for row in rows]


def _one(recipient: str, endpoint: str) -> ColumnElement[bool]:
    return and_(destinations.c.recipient == recipient, destinations.c.endpoint == endpoint)


_UNBROKEN = {
    "failed_by": [],
    "failures": 0,
    "failing_since": None,
    "failed_at": None,
    "failed_reason": "",
    "failed_place": "",
    "probe_at": None,
}
