"""A queue of pending deliveries in a real PostgreSQL: how long a claim takes, and whether memory stays flat.

What is measured is what a delivery process asks of its database to get work: which destinations have some,
and the claim at one of them. Nothing is sent; what was claimed is ended by one statement, so that the queue
stays deep while it is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import psycopg
from sqlalchemy import select, text, update

from benchmarks.measure import median
from imex.db import Database
from imex.db.migrate import upgrade
from imex.db.schemas import OWNED
from imex.db.tables.delivery import deliveries
from imex.delivery.leases import Leases
from imex.testing.parts import postgres_part

P99_MS = 20.0
GROWTH_MB = 16.0
_SENDERS = 20
_WARM_UP = 100

_FILL = """
    INSERT INTO delivery.deliveries (id, share, source, study_uid, recipient, endpoint, lane, priority,
           directory_version, state, next_attempt_at, created_at, expires_at)
    SELECT gen_random_uuid(), gen_random_uuid(), 'S' || n % {senders}, '1.2.' || n, 'R' || n % {destinations},
           'pacs', 'bulk', CASE WHEN n % 97 = 0 THEN 'urgent' ELSE 'routine' END, '', 'waiting', now(),
           now() - interval '1 day' + n * interval '1 ms', now() + interval '14 days'
      FROM generate_series(1, {number}) AS n;
    INSERT INTO delivery.destinations (recipient, endpoint)
    SELECT DISTINCT recipient, endpoint FROM delivery.deliveries;
    INSERT INTO delivery.queues (recipient, endpoint, source)
    SELECT DISTINCT recipient, endpoint, source FROM delivery.deliveries;
    INSERT INTO delivery.instances (delivery, sop_instance_uid, part, sop_class_uid, transfer_syntax,
           object_key, size, digest)
    SELECT d.id, '1.2.3.' || i, 1, '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1', 'a/b/c', 526000, ''
      FROM delivery.deliveries AS d CROSS JOIN generate_series(1, {instances}) AS i;
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `python -m benchmarks queue` takes."""
    parser.add_argument("--instances", type=int, default=1_000_000, help="that are pending")
    parser.add_argument("--destinations", type=int, default=100)
    parser.add_argument("--study", type=int, default=[100, 1], nargs="*", help="instances of a delivery")
    parser.add_argument("--claims", type=int, default=3000)
    parser.add_argument("--at-once", type=int, default=2, help="processes' worth of claims at a time")


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """Fill, measure, tell; 1 where a claim's p99 is not below 20 ms or memory grew."""
    rows, good = [], True
    for number, study in enumerate(arguments.study):
        with postgres_part(scratch / f"queue-{number}") as part:
            row, held = asyncio.run(_measure(part.url, arguments, study))
        rows.append(row)
        good = good and held
    head = ("deliveries", "instances", "look p50", "look p99", "claim p50", "claim p99", "claims/s", "growth")
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---" for _ in head) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    return 0 if good else 1


async def _measure(url: str, arguments: argparse.Namespace, study: int) -> tuple[tuple[str, ...], bool]:
    upgrade(url, {service: f"{service}-password" for service in OWNED})
    number = arguments.instances // study
    filling = time.monotonic()
    with psycopg.connect(url, autocommit=True) as connection:
        filled = _FILL.format(
            senders=_SENDERS * 5, destinations=arguments.destinations, number=number, instances=study
        )
        for statement in filled.split(";"):
            if statement.strip():
                connection.execute(statement.encode())
        for table in ("deliveries", "instances", "destinations", "queues"):
            connection.execute(f"VACUUM ANALYZE delivery.{table}".encode())
    print(f"{number:,} deliveries of {study} filled in {time.monotonic() - filling:.0f} s", flush=True)
    database = Database(url, "delivery")
    looks: list[float] = []
    claims: list[float] = []
    memory: list[int] = []

    async def claimer(number: int, most: int) -> None:
        leases = Leases(database, f"process-{number}", timedelta(seconds=15))
        for turn in range(most):
            began = time.perf_counter()
            due = await leases.due()
            looks.append(time.perf_counter() - began)
            place = due[(turn + number * len(due) // 2) % len(due)]
            began = time.perf_counter()
            jobs = await leases.claim(place, lambda *_: 1)
            claims.append(time.perf_counter() - began)
            async with database.unit() as unit:
                ended = update(deliveries).where(deliveries.c.id.in_([job.id for job in jobs]))
                await unit.connection.execute(ended.values(state="ended", outcome="delivered"))
            if len(claims) % 100 == 0:
                memory.append(_resident())

    await claimer(0, _WARM_UP)
    for warm in (looks, claims):
        warm.clear()
    memory.clear()
    began = time.monotonic()
    share = arguments.claims // arguments.at_once
    await asyncio.gather(*(claimer(one, share) for one in range(arguments.at_once)))
    took = time.monotonic() - began
    async with database.unit() as unit:
        left = await unit.connection.scalar(
            select(text("count(*)")).select_from(deliveries).where(deliveries.c.state == "waiting")
        )
    await database.close()
    growth = (memory[-1] - memory[0]) / 1e6
    row = (
        f"{left:,}",
        f"{(left or 0) * study:,}",
        f"{_ms(median(looks))} ms",
        f"{_ms(_p99(looks))} ms",
        f"{_ms(median(claims))} ms",
        f"{_ms(_p99(claims))} ms",
        f"{len(claims) / took:.0f}",
        f"{growth:.1f} MB of {memory[-1] / 1e6:.0f}",
    )
    return row, _p99(claims) * 1000 < P99_MS and growth < GROWTH_MB


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
