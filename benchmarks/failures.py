"""A good destination beside each failing one: how long its studies take, with and without.

One delivery process with the limits and places of production, real PostgreSQL, payloads in memory. Studies of
three small images go to the good destination one after the other, while several wait for the failing one.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median, quantiles

from tests.integration.delivery_world import Passage, Waits, World, delivery_world
from tests.integration.failure_world import IMAGES, known

from imex.delivery.decide import PoolLimits
from imex.delivery.settings import DeliverySettings
from imex.dimse import Limits
from imex.simulation.failures import FAILURES, Failure, Type
from imex.simulation.options import Options
from imex.simulation.pacs import simulated_pacs
from imex.testing.dicom import synthetic_study
from imex.testing.parts import PostgresPart, postgres_part
from imex.testing.postgres import new_database

_PAUSE_S = 0.05
_WITHIN_S = 120.0
_CONFIRM = {"query": "query", "commitment": "commitment"}
"""What has to be asked of the failing destination for its failure to be met."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `python -m benchmarks failures` takes."""
    parser.add_argument("--seconds", type=float, default=5.0, help="for each failure")
    parser.add_argument("--waiting", type=int, default=6, help="studies for the failing destination")
    parser.add_argument("--failure", action="append", metavar="NAME", help="only this one; may be repeated")


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """Print a line for each failure at each type of endpoint."""
    with postgres_part(scratch / "postgres") as postgres:
        print(f"{'beside':34} {'studies':>8} {'median ms':>10} {'p95 ms':>8}", flush=True)
        asyncio.run(_all(arguments, postgres))
    return 0


async def _all(arguments: argparse.Namespace, postgres: PostgresPart) -> None:
    chosen = [
        (type_, failure)
        for failure in FAILURES
        for type_ in failure.types
        if not arguments.failure or failure.name in arguments.failure
    ]
    told: list[tuple[Type, Failure] | None] = [None, *chosen, None]
    for one in told:
        took = await _beside(one, arguments.seconds, arguments.waiting, new_database(postgres))
        name = "nothing" if one is None else f"{one[0]} {one[1].name}"
        p95 = quantiles(took, n=20)[-1] if len(took) > 1 else took[0]
        print(f"{name:34} {len(took):8} {median(took) * 1000:10.0f} {p95 * 1000:8.0f}", flush=True)


async def _beside(
    failing: tuple[Type, Failure] | None, seconds: float, waiting: int, url: str
) -> Sequence[float]:
    """How long each of the good destination's studies took, in seconds."""
    limits = Limits()
    waits = Waits(limits.associate_s, limits.response_s)
    pool = PoolLimits(
        *(_default("concurrency"), _default("emergency_reserve"), _default("per_destination")),
        *(_default("urgent_reserve"), _default("routine_reserve"), _default("destination_reserve")),
    )
    async with delivery_world(url) as world, AsyncExitStack() as stack:
        await stack.enter_async_context(world.working(pool=pool, waits=waits, idle_s=5.0, poll_s=0.25))
        good = await stack.enter_async_context(simulated_pacs(options=Options(ae_title="RGOOD_PACS")))
        known(world, "RGOOD", good)
        await _study(world, "RGOOD")  # whatever is done once is done
        if failing is not None:
            type_, failure = failing
            options = Options(ae_title="RBAD_PACS", type=type_)
            bad = await stack.enter_async_context(simulated_pacs(failure.name, options=options))
            known(world, "RBAD", bad, _CONFIRM.get(failure.stage, "none"))
            for _ in range(waiting):
                study = synthetic_study(IMAGES, size=32)
                await world.issue(Passage("RBAD", study_uid=study.study_uid), study.instances)
        took = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            took.append(await _study(world, "RGOOD"))
            await asyncio.sleep(_PAUSE_S)
    return took


async def _study(world: World, recipient: str) -> float:
    study = synthetic_study(IMAGES, size=32)
    passage = Passage(recipient, study_uid=study.study_uid)
    begun = time.monotonic()
    await world.issue(passage, study.instances)
    await world.until_outcome(passage, "delivered", _WITHIN_S)
    return time.monotonic() - begun


def _default(name: str) -> int:
    return int(DeliverySettings.model_fields[name].default)
