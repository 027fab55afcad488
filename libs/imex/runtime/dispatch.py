"""From records that have come in to batches that run."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from imex.runtime.assignment import Assignment
from imex.runtime.backoff import Interrupted
from imex.runtime.errors import Halted
from imex.runtime.loops import Loops
from imex.runtime.message import RawRecord
from imex.runtime.policy import Policy
from imex.runtime.precedence import Place, Precedence
from imex.runtime.queues import Item, KeyQueues
from imex.runtime.worker import Worker

log = logging.getLogger(__name__)

Group = tuple[str, bytes | int | None]


@dataclass(frozen=True, slots=True)
class Work:
    """A record, or with None the parked queue of a key, and the assignment it belongs to."""

    topic: str
    partition: int
    key: bytes | None
    record: RawRecord | None
    assignment: Assignment


class Dispatcher:
    """Runs batches through a worker: at most `policy.concurrency` at once, no key in two of them."""

    def __init__(
        self,
        worker: Worker,
        policy: Policy,
        on_done: Callable[[Assignment, RawRecord], None],
        place: Place | None = None,
    ) -> None:
        """`on_done` is called for each record whose offset may move; `place` is the one among other lanes."""
        self._worker = worker
        self._policy = policy
        self._on_done = on_done
        self._queues: KeyQueues[Group, Work] = KeyQueues()
        self._reoffered: set[Group] = set()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(policy.concurrency)
        self._running: set[asyncio.Task[None]] = set()
        self._feeding = Loops()
        self.halted = False
        self._place = place or Precedence().place(0)
        self._place.watch(lambda: not self.halted and bool(self._running or len(self._queues)))

    def start(self) -> None:
        """Begin to run what is added."""
        self._feeding.start(self._feed(), "dispatch")

    async def close(self) -> None:
        """Start nothing more; what runs must have been drained."""
        await self._feeding.stop(0)

    def add(self, assignment: Assignment, record: RawRecord) -> None:
        """A record has come in."""
        self._add(Work(record.topic, record.partition, record.key, record, assignment))

    def add_parked(self, assignment: Assignment, topic: str, partition: int, key: bytes | None) -> None:
        """The parked queue of a key is due."""
        work = Work(topic, partition, key, None, assignment)
        group = self._group(work)
        if group not in self._reoffered:
            self._reoffered.add(group)
            self._add(work)

    @property
    def failed(self) -> str:
        """Why nothing is dispatched any more; empty while all is well."""
        return self._feeding.failed

    async def drain(self, deadline_s: float) -> bool:
        """Drop what has not started, wait for what runs, and cancel it at the deadline.

        True when everything that ran has ended by itself.
        """
        self._queues.clear()
        self._reoffered.clear()
        if not self._running:
            return True
        _, late = await asyncio.wait(self._running, timeout=deadline_s)
        for task in late:
            task.cancel()
        if late:
            log.warning("%d batches did not end in time and were cancelled", len(late))
            await asyncio.wait(late, timeout=1.0)
        return not late

    def _add(self, work: Work) -> None:
        if not self.halted:
            self._queues.add(Item(self._group(work), work, time.monotonic()))
            self._wake.set()

    def _group(self, work: Work) -> Group:
        if self._policy.order == "partition" or work.key is None:
            return work.topic, work.partition
        return work.topic, work.key

    async def _feed(self) -> None:
        while True:
            await self._wake.wait()
            await self._slots.acquire()
            await self._linger()
            if len(self._queues):
                await self._place.turn()
            most = self._place.limit(self._policy.batch_records)
            items = [] if self.halted else self._queues.take(most)
            if not items:
                self._wake.clear()
                self._slots.release()
                continue
            task = asyncio.create_task(self._run(items))
            self._running.add(task)
            task.add_done_callback(self._ended)
            self._place.worked()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._place.worked()

    async def _linger(self) -> None:
        count, oldest = self._queues.ready(self._policy.batch_records)
        if oldest is not None and count < self._policy.batch_records:
            left = oldest + self._policy.linger_s - time.monotonic()
            if left > 0:
                await asyncio.sleep(left)

    async def _run(self, items: list[Item[Group, Work]]) -> None:
        try:
            await self._carry(items)
        except Interrupted:
            log.debug("a batch was given up with its assignment")
        except Halted:
            self.halted = True
            self._queues.clear()
        except Exception:
            # a fault of the runtime itself: nothing was finished, so nothing may be committed past it
            log.exception("a batch failed outside its handler; the consumer stops")
            self._worker.trouble.halted = "internal error, see the log"
            self.halted = True
        finally:
            self._slots.release()
            self._queues.free({item.group for item in items})
            self._wake.set()

    async def _carry(self, items: list[Item[Group, Work]]) -> None:
        # one assignment a batch: a rebalance clears the queues before the next one can add to them
        assignment = items[0].work.assignment
        records = [item.work.record for item in items if item.work.record is not None]
        if records:
            await self._worker.run(
                records, assignment.revoked, lambda record: self._on_done(assignment, record)
            )
        for item in items:
            if item.work.record is None:
                self._reoffered.discard(item.group)
                await self._worker.reoffer(item.work.topic, item.work.key, assignment.revoked)
