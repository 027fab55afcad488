"""The consumer: an intake loop that never waits for a handler, and everything around it.

Offsets are committed explicitly and only up to the lowest unfinished record; a rebalance (eager in
aiokafka) has one deadline for finishing what runs and committing it.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from opentelemetry.trace import Tracer, get_tracer

from imex.db import Database
from imex.observability.metrics import Metrics
from imex.runtime.assignment import Assignment
from imex.runtime.backoff import Interrupted, pause, persist
from imex.runtime.deadletter import DeadLetters
from imex.runtime.dispatch import Dispatcher
from imex.runtime.errors import is_transient
from imex.runtime.health import Health
from imex.runtime.kafka_client import FETCH_WAIT_MS, close, connection
from imex.runtime.loops import Loops
from imex.runtime.message import DeadLetterHook, Handler, RawRecord, StatelessHandler
from imex.runtime.meters import Meters
from imex.runtime.pace import Pace
from imex.runtime.policy import Policy
from imex.runtime.precedence import Place
from imex.runtime.producer import Producer
from imex.runtime.worker import Worker
from imex.settings import KafkaSettings

log = logging.getLogger(__name__)

_POLL_MS = 200
_GATHER_MS = 10
_GATHERED = 0.25
"""Of a pause, at most so much is spent on waiting for what else the broker has."""
_MEASURE_S = 1.0
_LOOK_AGAIN_S = 5.0
_SESSION_TIMEOUT_MS = 45_000
_REBALANCE_TIMEOUT_MS = 60_000
_MAX_POLL_INTERVAL_MS = 600_000
_COMMIT_S = 3.0
_CLOSE_S = 3.0


class Consumer:
    """Reads topics as one member of a group and carries their records through a handler."""

    def __init__(  # noqa: PLR0917  the order is the contract
        self,
        settings: KafkaSettings,
        group: str,
        topics: Sequence[str],
        handler: Handler | None = None,
        database: Database | None = None,
        policy: Policy | None = None,
        *,
        stateless: StatelessHandler | None = None,
        producer: Producer | None = None,
        on_dead_letter: DeadLetterHook | None = None,
        instance_id: str | None = None,
        tracer: Tracer | None = None,
        metrics: Metrics | None = None,
        place: Place | None = None,
    ) -> None:
        """Nothing is connected yet.

        Give `handler` with `database`, or `stateless` alone. `group` begins with `imex-<service>`.
        `producer` writes dead letters; without one the consumer keeps its own. `instance_id` makes the
        member static, for replicas with stable names. `place` says which consumers of the process go first.

        Raises:
            ValueError: not exactly one kind of handler is given.
        """
        if (handler is None) == (stateless is None) or (handler is None) != (database is None):
            raise ValueError("give handler and database, or stateless alone")
        self.name = group
        self._settings = settings
        self._group = group
        self._topics = tuple(topics)
        self._policy = policy or Policy()
        self._instance_id = instance_id
        self._meters = Meters(metrics, group)
        self._may_be_parked = asyncio.Event()
        self._own_producer = producer is None
        self._producer = producer or Producer(settings, client_id=f"{group}-dead")
        self._worker = Worker(
            group=group,
            policy=self._policy,
            database=database,
            handler=handler,
            stateless=stateless,
            dead_letters=DeadLetters(self._producer, group, on_dead_letter),
            tracer=tracer or get_tracer("imex.runtime"),
            meters=self._meters,
            on_park=self._may_be_parked.set,
        )
        self._dispatcher = Dispatcher(self._worker, self._policy, self._done, place)
        self._client: AIOKafkaConsumer | None = None
        self._assignment: Assignment | None = None
        self._stopping = asyncio.Event()
        self._loops = Loops()
        self._turned = time.monotonic()
        self._trouble = "joining its group"

    async def start(self) -> None:
        """Begin to read; the broker need not be there yet."""
        if self._own_producer:
            self._loops.start(self._start_producer(), f"{self._group} producer")
        self._dispatcher.start()
        self._turned = time.monotonic()
        self._loops.start(self._intake(), f"{self._group} intake")
        self._loops.start(self._commits(), f"{self._group} commits")
        self._loops.start(self._offers(), f"{self._group} parked")

    async def stop(self) -> None:
        """Finish what runs within the drain deadline, commit it and leave the group."""
        self._stopping.set()
        await self._release()
        await self._loops.stop(_CLOSE_S + 2 * _POLL_MS / 1000)
        await self._dispatcher.close()
        await self._close_client()
        if self._own_producer:
            await self._producer.stop()

    def health(self) -> Health:
        """Live while the loop turns; ready once partitions are assigned and the pipeline runs."""
        # without an assignment the loop waits inside aiokafka for as long as the broker is away
        joining = self._assignment is None
        stalled = not joining and time.monotonic() - self._turned > self._policy.stalled_s
        trouble = self._worker.trouble
        if failed := self._loops.failed or self._dispatcher.failed:
            return Health(live=False, ready=False, detail=failed)
        if trouble.halted:
            return Health(live=not stalled, ready=False, detail=trouble.halted)
        if stalled:
            return Health(live=False, ready=False, detail="the intake loop does not turn")
        waiting = next(iter(trouble.waiting_for.values()), "")
        return Health(ready=not joining, detail=waiting or self._trouble)

    def partitions(self) -> set[tuple[str, int]]:
        """The topics and partitions this member holds now."""
        held = self._assignment
        return {(tp.topic, tp.partition) for tp in held.ledgers} if held else set()

    def read_through(self, topic: str, partition: int) -> datetime | None:
        """The time through which a partition has been handled; None while that cannot be said.

        With everything handled it is the time at which the broker last said that there is no more, less
        `policy.read_margin_s` for clocks that differ; otherwise just before the oldest unfinished record.
        """
        client, assignment = self._client, self._assignment
        partition_of = TopicPartition(topic, partition)
        if client is None or assignment is None or partition_of not in assignment.ledgers:
            return None
        ledger = assignment.ledgers[partition_of]
        margin = timedelta(seconds=self._policy.read_margin_s)
        if ledger.unfinished == 0:
            end = client.highwater(partition_of)
            polled_ms = client.last_poll_timestamp(partition_of)
            position = ledger.position
            if end is not None and polled_ms and (position is None or position >= end):
                idle = position is not None or self._at_end(client, partition_of, end)
                if idle:
                    return datetime.fromtimestamp(polled_ms / 1000, UTC) - margin
        done_ms = ledger.done_through_ms
        return None if done_ms is None else datetime.fromtimestamp(done_ms / 1000, UTC) - margin

    @staticmethod
    def _at_end(client: AIOKafkaConsumer, partition: TopicPartition, end: int) -> bool:
        # nothing has been read in this assignment: the position it began at is the client's to know
        subscription = client._subscription.subscription
        assigned = subscription.assignment if subscription is not None else None
        if assigned is None or partition not in assigned.tps:
            return False
        state = assigned.state_value(partition)
        return bool(state.has_valid_position and state.position >= end)

    async def _start_producer(self) -> None:
        try:
            await self._producer.start()
        except Interrupted:
            return

    async def _intake(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._connect()
                await self._poll()
            except Interrupted:
                return
            except (KafkaError, OSError) as error:
                # the group's coordination has ended for good: only a new client helps
                self._trouble = f"Kafka: {type(error).__name__}"
                log.exception("%s starts over", self._group)
            if not self._stopping.is_set():
                await self._release()
                await self._close_client()

    async def _connect(self) -> None:
        def note(error: BaseException, _attempt: int) -> None:
            self._turned = time.monotonic()
            self._trouble = f"Kafka: {type(error).__name__}"

        self._client = await persist(
            self._new_client,
            again=lambda error: isinstance(error, (KafkaError, OSError)),
            stop=self._stopping,
            initial_s=0.1,
            max_s=2.0,
            on_retry=note,
        )

    async def _new_client(self) -> AIOKafkaConsumer:
        client = AIOKafkaConsumer(
            **connection(self._settings, self._group),
            group_id=self._group,
            group_instance_id=self._instance_id,
            enable_auto_commit=False,
            auto_offset_reset=self._policy.start,
            session_timeout_ms=_SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=3_000,
            rebalance_timeout_ms=_REBALANCE_TIMEOUT_MS,
            max_poll_interval_ms=_MAX_POLL_INTERVAL_MS,
            max_partition_fetch_bytes=self._policy.fetch_bytes,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        client.subscribe(self._topics, listener=_Listener(self))
        try:
            await asyncio.wait_for(client.start(), 20)
        except BaseException:
            await close(client, client._client)
            raise
        return client

    async def _poll(self) -> None:
        client = self._client
        assert client is not None
        failures = 0
        policy = self._policy
        pace = Pace(policy.pace_cap_s, policy.pace_least_s, policy.pace_s_per_record)
        while not self._stopping.is_set():
            self._turned = time.monotonic()
            try:
                # never cancelled and never awaited with anything else: aiokafka counts its fetch waiters
                fetched = await client.getmany(timeout_ms=_POLL_MS)
                pausing = pace.pause_s(time.monotonic())
                # the broker answers a waiting fetch with the first record; the rest comes with the next one
                gather_ms = min(_GATHER_MS, int(_GATHERED * 1000 * pausing))
                more = await client.getmany(timeout_ms=gather_ms) if fetched and gather_ms else {}
            except KafkaError as error:
                failures += 1
                if failures > 5 or client._coordinator._coordination_task.done():
                    raise
                self._trouble = f"Kafka: {type(error).__name__}"
                log.warning("%s cannot read: %s", self._group, type(error).__name__)
                await asyncio.sleep(0.2)
                continue
            failures = 0
            for each in (fetched, more):
                for partition, records in each.items():
                    pace.taken(len(records), time.monotonic())
                    self._take_in(client, partition, records)
            if fetched:
                await pause(pace.pause_s(time.monotonic()), self._stopping)

    def _take_in(self, client: AIOKafkaConsumer, partition: TopicPartition, records: Iterable[Any]) -> None:
        assignment = self._assignment
        if assignment is None or assignment.revoked.is_set():
            # stopping: what is not handed on is not committed either, so its next reader gets it
            return
        ledger = assignment.ledger(partition)
        for record in records:
            ledger.begin(record.offset, record.timestamp)
            raw = RawRecord(
                record.topic,
                record.partition,
                record.offset,
                record.timestamp,
                record.key,
                record.value,
                tuple(record.headers),
            )
            self._dispatcher.add(assignment, raw)
        if ledger.unfinished >= self._policy.buffer_records or self._dispatcher.halted:
            client.pause(partition)

    def _done(self, assignment: Assignment, record: RawRecord) -> None:
        partition = TopicPartition(record.topic, record.partition)
        ledger = assignment.ledgers[partition]
        ledger.done(record.offset)
        client = self._client
        if (
            ledger.unfinished == self._policy.buffer_records // 2
            and client is not None
            and assignment is self._assignment
            and partition in client.paused()
        ):
            client.resume(partition)

    async def _commits(self) -> None:
        measured = 0.0
        while not self._stopping.is_set():
            await asyncio.sleep(self._policy.commit_every_s)
            await self._commit()
            if time.monotonic() - measured >= _MEASURE_S:
                measured = time.monotonic()
                self._measure()

    async def _commit(self) -> None:
        client, assignment = self._client, self._assignment
        offsets = assignment.to_commit() if assignment else {}
        if client is None or assignment is None or not offsets:
            return
        try:
            await asyncio.wait_for(client.commit(offsets), _COMMIT_S)
        except (CommitFailedError, IllegalStateError):
            # the partitions have moved on; their next reader repeats what was not committed
            log.info("%s could not commit: its partitions have moved", self._group)
        except (KafkaError, TimeoutError, OSError) as error:
            self._trouble = f"cannot commit: {type(error).__name__}"
            log.warning("%s could not commit: %s", self._group, type(error).__name__)
        else:
            self._trouble = ""
            assignment.committed(offsets)

    def _measure(self) -> None:
        client, assignment = self._client, self._assignment
        if client is None or assignment is None:
            return
        now_ms = time.time() * 1000
        oldest = dict.fromkeys(self._topics, 0.0)
        for partition, ledger in assignment.ledgers.items():
            try:
                end = client.highwater(partition)
            except IllegalStateError:
                return
            if end is None or ledger.position is None:
                continue
            behind = max(0, end - ledger.position) + ledger.unfinished
            self._meters.lag(partition.topic, partition.partition, behind)
            if ledger.unfinished and ledger.done_through_ms is not None:
                age_s = (now_ms - ledger.done_through_ms) / 1000
                oldest[partition.topic] = max(oldest[partition.topic], age_s)
        for topic, seconds in oldest.items():
            self._meters.oldest(topic, seconds)

    async def _offers(self) -> None:
        # only who holds a partition parks its records: with nothing there it is enough to look now and then,
        # for what the partition's last holder may have parked late
        looked = 0.0
        while not self._stopping.is_set():
            await asyncio.sleep(self._policy.parked_poll_s)
            assignment = self._assignment
            now = time.monotonic()
            if assignment is None or not (self._may_be_parked.is_set() or now - looked >= _LOOK_AGAIN_S):
                continue
            looked = now
            self._may_be_parked.clear()
            try:
                queues = await self._worker.parked(sorted(self.partitions()))
            except Exception as error:
                if not is_transient(error):
                    raise
                self._may_be_parked.set()
                log.warning("%s cannot look for parked records: %s", self._group, type(error).__name__)
                continue
            if queues:
                self._may_be_parked.set()
            if assignment is self._assignment:
                for queue in queues:
                    if queue.due:
                        self._dispatcher.add_parked(assignment, queue.topic, queue.partition, queue.key)

    async def _release(self) -> None:
        """Give up the assignment: one deadline for finishing what runs and committing it."""
        assignment = self._assignment
        if assignment is None:
            return
        assignment.revoked.set()
        await self._dispatcher.drain(self._policy.drain_s)
        await self._commit()
        if self._assignment is assignment:
            self._assignment = None
        self._meters.forget()

    def _assigned(self, partitions: Iterable[TopicPartition]) -> None:
        assignment = Assignment()
        for partition in partitions:
            assignment.ledger(partition)
        self._assignment = assignment
        self._may_be_parked.set()
        self._trouble = ""
        self._meters.rebalanced()
        log.info("%s holds %d partitions", self._group, len(assignment.ledgers))

    async def _close_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await close(client, client._client)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        if revoked:
            await self._consumer._release()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._consumer._assigned(assigned)
