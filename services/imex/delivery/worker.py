"""The worker: claims due deliveries and carries several at a time, each in a task of its own.

A slow or dead destination holds at most its own slots; parts of the pool are kept for emergencies, for what
is urgent, and for what is routine (`imex.delivery.decide.free_slots`). An emergency that finds the slots of
its destination taken makes a less urgent delivery give way after the instance that it is sending.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from imex.delivery.attempt import Stop, Width
from imex.delivery.carrying import Carrying, CurrentDirectory
from imex.delivery.decide import PoolLimits, free_slots
from imex.delivery.jobs import Due, Job
from imex.delivery.leases import Leases, Slots
from imex.delivery.meters import Meters
from imex.delivery.turns import Turns
from imex.delivery.wake import Bell
from imex.directory.index import is_open
from imex.events import Priority
from imex.runtime.backoff import heard
from imex.runtime.errors import is_transient
from imex.runtime.health import Health

log = logging.getLogger(__name__)

STOPPING: Final = "interrupted: the delivery service is stopping"
GAVE_WAY: Final = "gave way to an emergency"
_DRAIN_S: Final = 25.0
_SETTLING: Final = 8
"""Deliveries at a time that only come to their end, beside those that send."""
_DEPTH_SHARE: Final = 20
"""Counting a queue takes at most one part in so many of the time."""
_TIDY_S: Final = 1.0
_DEPTH_S: Final = 5.0
_QUEUES_S: Final = 30.0
_STALLED_S: Final = 60.0
_AFTER_FAILURE_S: Final = 1.0
_KEEPING_S: Final = 0.1
"""Who keeps an association open that others may be waiting for looks more often."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How many at a time, and how often to look. Seconds."""

    pool: PoolLimits
    default_associations: int = 2
    associations_per_delivery: int = 2
    lease_s: float = 12.0
    poll_s: float = 0.25


@dataclass(slots=True)
class _Running:
    job: Job
    stop: Stop
    task: asyncio.Task[None]
    associations: int = 1


class Worker:
    """Carries deliveries until it is stopped."""

    name = "delivery worker"

    def __init__(
        self,
        leases: Leases,
        carrying: Carrying,
        directory: CurrentDirectory,
        *,
        bell: Bell,
        meters: Meters,
        pace: Pace,
    ) -> None:
        """Nothing runs yet."""
        self._leases = leases
        self._carrying = carrying
        self._directory = directory
        self._bell = bell
        self._meters = meters
        self._pace = pace
        self._running: dict[UUID, _Running] = {}
        self._turns = Turns()
        self._without: set[tuple[str, str]] = set()
        """Destinations that had work and no room for it at the last look."""
        self._loops: list[asyncio.Task[None]] = []
        self._turned = time.monotonic()
        self._trouble = ""
        self._version = ""
        """Of the directory, when destinations with another address were last asked again."""

    async def start(self) -> None:
        """Begin to claim; what this process held before it was killed is taken back first."""
        self._turned = time.monotonic()
        loops = {
            "claims": (self._claim_all, self._pace.poll_s),
            "leases": (self._renew, self._pace.lease_s / 4),
            "recovery": (self._recover, _TIDY_S),
            "depth": (self._measure, _DEPTH_S),
            "queues": (self._find_queues, _QUEUES_S),
        }
        self._loops = [
            asyncio.create_task(self._repeat(turn, every_s), name=f"delivery {name}")
            for name, (turn, every_s) in loops.items()
        ]

    async def stop(self) -> None:
        """Let each delivery finish its instance and write what is known, then give the leases back."""
        claims, *others = self._loops
        claims.cancel()
        await asyncio.gather(claims, return_exceptions=True)
        for running in self._running.values():
            running.stop.ask(STOPPING)
        if self._running:
            _, late = await asyncio.wait(
                [running.task for running in self._running.values()], timeout=_DRAIN_S
            )
            cut_off = [one.job.id for one in self._running.values() if one.task in late]
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            await self._leases.release(cut_off)
        for loop in others:
            loop.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._carrying.keeps:
            await self._carrying.close()
            await self._leases.forget_kept()

    def health(self) -> Health:
        """Live while the claims turn; an absent database is a degradation."""
        return Health(live=time.monotonic() - self._turned < _STALLED_S, detail=self._trouble)

    async def _repeat(self, turn: Callable[[], Awaitable[None]], every_s: float) -> None:
        rings = turn == self._claim_all
        while True:
            rung = self._bell.listen()
            try:
                await turn()
                self._trouble = ""
            except Exception as error:
                self._trouble = type(error).__name__
                transient = is_transient(error)
                log.log(
                    logging.WARNING if transient else logging.ERROR,
                    "delivery could not look after its work: %s",
                    self._trouble,
                    exc_info=not transient,
                )
                await asyncio.sleep(_AFTER_FAILURE_S)
            if rings:
                await heard(rung, min(every_s, _KEEPING_S) if self._carrying.keeps else every_s)
            else:
                await asyncio.sleep(every_s)

    async def _recover(self) -> None:
        directory = self._directory()
        version = directory.version if directory else ""
        if version != self._version and await self._leases.forget_moved(self._carrying.place):
            self._bell.ring()
        self._version = version
        # of destinations that are paused or away; of others the claims have taken them
        for job in await self._leases.claim_settling(_SETTLING - self._settling):
            self._begin(job)
        if await self._leases.recover(self._running):
            self._bell.ring()

    async def _find_queues(self) -> None:
        if await self._leases.find_queues():
            self._bell.ring()

    async def _measure(self) -> None:
        began = time.monotonic()
        self._meters.depth(await self._leases.depths())
        self._meters.held(await self._leases.held())
        await asyncio.sleep(_DEPTH_SHARE * (time.monotonic() - began))

    async def _claim_all(self) -> None:
        self._turned = time.monotonic()
        without = set()
        for due in await self._leases.due():
            closed = self._closed(due)
            if closed and not due.emergency:
                continue
            address = self._carrying.address(due.recipient, due.endpoint)
            kept = self._carrying.kept(due.recipient, due.endpoint)
            slots = self._slots(due.destination)
            jobs = await self._leases.claim(
                due, _for_emergencies(slots) if closed else slots, address, kept, self._guests(due)
            )
            for job in jobs:
                self._begin(job)
            if not jobs:
                # at a first look another process may just have been claiming there
                if due.emergency or due.destination in self._without:
                    self._make_way(due)
                without.add(due.destination)
            elif due.destination in self._carrying.rates.limited:
                await self._share()

        self._without = without

    @property
    def _settling(self) -> int:
        """Deliveries at hand of which nothing is to be sent."""
        return sum(not one.job.sends for one in self._running.values())

    def _guests(self, due: Due) -> int:
        """How many emergencies may use in turns what others, all emergencies too, have there."""
        there = [one.job for one in self._running.values() if one.job.destination == due.destination]
        if not self._turns.owned(due.destination) or any(job.priority != "emergency" for job in there):
            return 0
        return self._pace.pool.total - len(self._running)

    def _slots(self, destination: tuple[str, str]) -> Callable[[int, Priority], int]:
        directory = self._directory()
        endpoint = directory.endpoint_for(*destination) if directory else None
        allowed = (endpoint and endpoint.accepts.max_associations) or self._pace.default_associations

        def slots(associations_there: int, priority: Priority) -> int:
            return free_slots(
                self._pace.pool,
                running=Counter(one.job.priority for one in self._running.values()),
                running_there=associations_there,
                allowed_there=allowed,
                priority=priority,
            )

        return slots

    def _closed(self, due: Due) -> bool:
        """Whether it is outside the destination's hours; emergencies go at any."""
        directory = self._directory()
        endpoint = directory.endpoint_for(due.recipient, due.endpoint) if directory else None
        return endpoint is not None and not is_open(endpoint, datetime.now(UTC))

    def _begin(self, job: Job) -> None:
        stop = Stop()
        task = asyncio.create_task(self._carry(job, stop), name=f"delivery {job.id}")
        self._running[job.id] = _Running(job, stop, task)

    async def _carry(self, job: Job, stop: Stop) -> None:
        try:
            width = Width(
                self._pace.associations_per_delivery,
                self._widen,
                self._narrow,
                self._turns,
                self._leases.count_for,
            )
            await self._carrying.carry(job, stop, width)
        except Exception:
            # a fault of ours: its lease runs out, and it is tried again then
            log.exception("a delivery failed unexpectedly")
        finally:
            if (known := self._running.get(job.id)) is not None and known.stop is stop:
                del self._running[job.id]
            self._bell.ring()

    async def _widen(self, job: Job) -> bool:
        running = self._running.get(job.id)
        if running is None or not await self._leases.widen(job, self._slots(job.destination)):
            return False
        running.associations += 1
        return True

    async def _narrow(self, job: Job) -> None:
        if (running := self._running.get(job.id)) is not None:
            running.associations -= 1
        await self._leases.narrow(job)
        self._bell.ring()

    def _make_way(self, due: Due) -> None:
        """Ask a delivery that has several associations there to do with fewer.

        For an emergency, where none has: a less urgent one to end, of the same destination, or of any when
        the pool is full.
        """
        there = [one for one in self._running.values() if one.job.destination == due.destination]
        if wide := [one for one in there if one.associations > 1]:
            if not any(one.stop.narrow for one in wide):
                max(wide, key=lambda one: one.associations).stop.narrow = True
            return
        if not due.emergency:
            return
        full = len(self._running) >= self._pace.pool.total
        others = [
            one
            for one in self._running.values()
            if one.job.priority != "emergency" and (full or one.job.destination == due.destination)
        ]
        if others and not any(one.stop.asked.is_set() for one in others):
            last = max(others, key=lambda one: (one.job.priority == "routine", one.job.started_at))
            last.stop.ask(GAVE_WAY)

    async def _share(self) -> None:
        """How much of each limited rate is this process's."""
        for destination, (mine, all_) in (await self._leases.usage(self._carrying.rates.limited)).items():
            self._carrying.rates.share(destination, mine, all_)

    async def _renew(self) -> None:
        await self._share()
        before = list(self._running)
        held = await self._leases.renew(before)
        for delivery in before:
            running = self._running.get(delivery)
            if running is None:
                continue
            if delivery not in held:
                running.task.cancel()
            elif held[delivery]:
                running.stop.ask(held[delivery])


def _for_emergencies(slots: Slots) -> Slots:
    """The same, and none for what is less urgent."""
    return lambda used, priority: slots(used, priority) if priority == "emergency" else 0
