"""Deliveries to simulated PACSs that all fail at once, each in its own way, beside one that does not."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row
from tests.integration.delivery_world import Asking, Passage, Waits, World, delivery_world, until

from imex.delivery.confirming.commitment import Patience
from imex.delivery.decide import PoolLimits
from imex.simulation.failures import Type
from imex.simulation.options import Options
from imex.simulation.pacs import SimulatedPacs, simulated_pacs
from imex.storage import ObjectStore
from imex.testing.dicom import SyntheticStudy, synthetic_study

IMAGES = 3
TRYING = "trying"
"""No end: it is tried again, with the words on the delivery."""
WAITS = Waits(associate_s=1.0, response_s=1.0, rejections_s=0.2)
STEPS_S = (0.3, 0.6, 1.0, 1.0, 1.0, 1.0)
LATE_S = 0.3
PATIENCE_S = 0.7
POOL = PoolLimits(120, 2, 6)


@dataclass(frozen=True)
class Case:
    """One failure at one type of endpoint, and what is to come of it."""

    type: Type
    failure: str
    ends: str
    """delivered, failed, or `TRYING`, while it goes on failing."""
    words: str
    """Contained in what the delivery, or one of its instances, says."""
    confirm: str = "none"
    kept: int | None = IMAGES
    """Images that the destination holds while it goes on failing; None: that depends on how far it came."""

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.type}-{self.failure}-{self.confirm}"


@dataclass
class Seen:
    """What came of a case."""

    row: Row[Any]
    instances: dict[str, Row[Any]]
    held: dict[str, str]
    """At the destination: SOP Instance UIDs with digests, while it failed."""
    receipts: int
    after: Row[Any]
    """The delivery, once the destination behaves well."""
    finally_held: dict[str, str]
    digests_each: dict[str, int]
    """How many different data sets were ever kept under a SOP Instance UID."""
    study: SyntheticStudy

    @property
    def told(self) -> str:
        """Everything that was said."""
        return " | ".join([self.row.reason, *(one.reason for one in self.instances.values())])


@dataclass
class Good:
    """How long studies took to a destination that does not fail, in seconds."""

    took: list[float] = field(default_factory=list)


@asynccontextmanager
async def failing_world(url: str, store: ObjectStore | None = None) -> AsyncIterator[World]:
    """A worker with short waits, and room for all cases at once."""
    async with delivery_world(url, store) as world:
        asking = Asking(patience_s=PATIENCE_S, patience=Patience(0.3, 0.6))
        async with world.working(pool=POOL, asking=asking, waits=WAITS, idle_s=0.2):
            yield world


async def run(world: World, cases: Sequence[Case]) -> tuple[dict[str, Seen], Good]:
    """All cases at once, and a good destination until they are done."""
    good = Good()
    async with AsyncExitStack() as stack:
        well = await stack.enter_async_context(simulated_pacs(options=Options(ae_title="RGOOD_PACS")))
        known(world, "RGOOD", well)
        done = asyncio.Event()
        steady = asyncio.create_task(_steady(world, good, done))
        try:
            seen = await asyncio.gather(
                *(_case(world, f"R{number:03}", case, stack) for number, case in enumerate(cases))
            )
        finally:
            done.set()
            await steady
    return {case.name: one for case, one in zip(cases, seen, strict=True)}, good


def known(world: World, recipient: str, pacs: SimulatedPacs, confirm: str = "none") -> None:
    """Put a simulated PACS into the directory."""
    if pacs.options.type == "dicom":
        world.endpoint(recipient, pacs.port, confirm=confirm)
    else:
        world.endpoint(recipient, pacs.port, type="dicomweb", url=pacs.url, confirm=confirm)


async def _case(world: World, recipient: str, case: Case, stack: AsyncExitStack) -> Seen:
    options = Options(
        ae_title=f"{recipient}_PACS", type=case.type, delay_s=LATE_S, rate=20_000.0, retry_after_s=1
    )
    if case.failure == "slow-response":
        options = Options(ae_title=options.ae_title, type=case.type, delay_s=300.0)
    pacs = await stack.enter_async_context(simulated_pacs(case.failure, options=options))
    known(world, recipient, pacs, case.confirm)
    study = synthetic_study(IMAGES, size=32)
    passage = Passage(recipient, study_uid=study.study_uid)
    await world.issue(passage, study.instances)
    await _first_state(world, passage, case)
    row, instances = await world.row(passage), await world.instances(passage)
    held = dict(pacs.shelf.held)
    receipts = len(await world.receipts(passage))
    pacs.behave()
    if row.outcome not in {None, "delivered"}:
        await world.hand_in(world.command(passage, "retry"))
    after = await _delivered(world, passage)
    digests = {uid: len(one.digests) for uid, one in pacs.shelf.tallies.items()}
    return Seen(row, instances, held, receipts, after, dict(pacs.shelf.held), digests, study)


async def _delivered(world: World, passage: Passage) -> Row[Any]:
    """The delivery when it is delivered, or as it is after a while, for the test to say so."""
    deadline = time.monotonic() + 30

    def done(row: Row[Any]) -> bool:
        return row.outcome == "delivered" or time.monotonic() > deadline

    return await until(lambda: world.row(passage), done, 60)


async def _first_state(world: World, passage: Passage, case: Case) -> None:
    """Wait until what the case says has come, or is not going to."""
    deadline = time.monotonic() + 35
    while time.monotonic() < deadline:
        row = await world.row(passage)
        if row.outcome is not None:
            return
        if case.ends == TRYING and row.failures >= 1 and case.words in row.reason:
            return
        await asyncio.sleep(0.05)


async def _steady(world: World, good: Good, done: asyncio.Event) -> None:
    while not done.is_set():
        study = synthetic_study(IMAGES, size=32)
        passage = Passage("RGOOD", study_uid=study.study_uid)
        begun = time.monotonic()
        await world.issue(passage, study.instances)
        await world.until_outcome(passage, "delivered", 60)
        good.took.append(time.monotonic() - begun)
        await asyncio.sleep(0.1)
