"""What happens to one batch: the unit of work, and the policy when it fails."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar
from uuid import UUID

from opentelemetry.trace import Tracer

from imex.db import Database, UnitOfWork
from imex.events import UndecodableEvent, decode
from imex.runtime.backoff import Interrupted, pause, persist
from imex.runtime.breaker import Breaker
from imex.runtime.deadletter import DeadLetters
from imex.runtime.errors import Halted, Park, Poison, is_transient, safe_reason
from imex.runtime.message import Handler, Message, RawRecord, StatelessHandler
from imex.runtime.meters import Meters
from imex.runtime.parking import Parked, ParkingLot, Queue
from imex.runtime.policy import Policy
from imex.runtime.tracing import handling

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class Trouble:
    """What is wrong at the moment, for health."""

    waiting_for: dict[int, str] = field(default_factory=dict)
    halted: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A record that cannot become a message."""

    raw: RawRecord
    reason: str


def to_message(raw: RawRecord) -> Message | Failed:
    """Decode a record; what cannot be decoded says why, without quoting it."""
    if raw.value is None:
        return Failed(raw, "a record without a value")
    try:
        event = decode(raw.value, raw.header("ce_type"))
        key = (raw.key or b"").decode()
    except UndecodableEvent as error:
        return Failed(raw, f"undecodable: {error}")
    except UnicodeDecodeError:
        return Failed(raw, "undecodable: the key is no UTF-8")
    traceparent = raw.header("traceparent") or event.traceparent
    return Message(raw.topic, raw.partition, raw.offset, raw.timestamp, key, event, traceparent, raw)


Finished = Callable[[RawRecord], None]


class Worker:
    """Carries records through the handler; what returns is done, parked or a dead letter."""

    def __init__(
        self,
        *,
        group: str,
        policy: Policy,
        database: Database | None,
        handler: Handler | None,
        stateless: StatelessHandler | None,
        dead_letters: DeadLetters,
        tracer: Tracer,
        meters: Meters,
        on_park: Callable[[], None] = lambda: None,
    ) -> None:
        """Either `database` and `handler`, or `stateless`. `on_park` hears of a record set aside."""
        self._group = group
        self._policy = policy
        self._database = database
        self._handler = handler
        self._stateless = stateless
        self._dead_letters = dead_letters
        self._tracer = tracer
        self._meters = meters
        self._on_park = on_park
        self._breaker = Breaker(policy.breaker_limit, policy.breaker_window_s)
        self._parking = ParkingLot(database, group) if database else None
        self.trouble = Trouble()

    async def run(self, records: Sequence[RawRecord], stop: asyncio.Event, finished: Finished) -> None:
        """Carry one batch; `finished` is called for each record whose offset may move.

        Raises:
            Interrupted: `stop` was set while waiting for a dependency; what is unfinished is not ours.
            Halted: the circuit breaker has opened.
        """
        decoded = [to_message(record) for record in records]
        messages = [each for each in decoded if isinstance(each, Message)]
        if len(messages) == len(decoded):
            try:
                await self._persist(messages[0].topic, lambda: self._attempt(messages), stop)
            except (Interrupted, Halted):
                raise
            except Exception as error:  # noqa: BLE001  any failure of the batch is settled record by record
                if len(messages) > 1:
                    log.info("a batch of %d failed (%s); trying alone", len(messages), type(error).__name__)
            else:
                self._breaker.success()
                for record in records:
                    finished(record)
                return
        for each in decoded:
            await self._alone(each, stop, None)
            finished(each.raw)

    async def reoffer(self, topic: str, key: bytes | None, stop: asyncio.Event) -> None:
        """Carry the queue of a parked key as far as it is due."""
        while not stop.is_set():
            parked = await self._persist(topic, lambda: self._peek(topic, key), stop)
            if parked is None or not await self._alone(to_message(parked.record), stop, parked):
                return

    async def parked(self, partitions: Sequence[tuple[str, int]]) -> list[Queue]:
        """The parked queues in `partitions`."""
        return await self._parking.queues(partitions) if self._parking else []

    async def _peek(self, topic: str, key: bytes | None) -> Parked | None:
        assert self._database is not None
        assert self._parking is not None
        async with self._database.unit() as unit:
            return await self._parking.head(unit, topic, key)

    async def _attempt(self, messages: Sequence[Message], parked: Parked | None = None) -> None:
        if self._database is None:
            assert self._stateless is not None
            with self._meters.batch(messages[0].topic), handling(self._tracer, self._group, messages):
                await self._stateless(messages)
            self._meters.handled(messages)
            return
        with self._meters.batch(messages[0].topic):
            async with self._database.unit() as unit:
                await self._in_unit(unit, messages, parked)
        self._meters.handled(messages)

    async def _in_unit(self, unit: UnitOfWork, messages: Sequence[Message], parked: Parked | None) -> None:
        assert self._handler is not None
        assert self._parking is not None
        # inbox rows first: a consumer that lost the partition and does not know it yet waits or loses here
        if parked is None:
            messages, fresh_ids = await self._enter(unit, messages)
        else:
            await self._parking.remove(unit, parked)
            fresh_ids = await unit.claim(message.event.id for message in messages)
        fresh = list(_first_of_each(messages, fresh_ids))
        if fresh:
            with handling(self._tracer, self._group, fresh):
                await self._handler(fresh, unit)

    async def _enter(
        self, unit: UnitOfWork, messages: Sequence[Message]
    ) -> tuple[Sequence[Message], set[UUID]]:
        """What is free to be handled, and which events of it are new; the rest joins the queue of its key."""
        assert self._parking is not None
        fresh_ids, held = await self._parking.enter(
            unit, [(message.event.id, message.topic, message.raw.key) for message in messages]
        )
        if not held:
            return messages, fresh_ids
        free: list[Message] = []
        for message in messages:
            if message.raw.key is not None and (message.topic, message.raw.key) in held:
                await self._parking.park(unit, message.raw, message.timestamp, "behind a parked record")
            else:
                free.append(message)
        return free, fresh_ids

    async def _alone(self, each: Message | Failed, stop: asyncio.Event, parked: Parked | None) -> bool:
        """Settle one record; false when it was parked, so that its queue goes no further."""
        if isinstance(each, Failed):
            await self._bury(each.raw, each.reason, "UndecodableEvent", stop, parked)
            return True
        for attempt in range(1, self._policy.attempts + 1):
            try:
                await self._persist(each.topic, lambda: self._attempt([each], parked), stop)
            except (Interrupted, Halted):
                raise
            except Park as park:
                await self._park(each, park, stop, parked)
                return False
            except Exception as error:
                log.warning(
                    "%s/%d@%d failed, try %d of %d: %s",
                    *(each.topic, each.partition, each.offset, attempt, self._policy.attempts),
                    safe_reason(error),
                    exc_info=not isinstance(error, Poison),
                )
                if isinstance(error, Poison) or attempt == self._policy.attempts:
                    await self._bury(each.raw, safe_reason(error), type(error).__name__, stop, parked)
                    return True
                await pause(self._policy.retry_initial_s * attempt, stop)
            else:
                self._breaker.success()
                return True
        raise AssertionError("unreachable: the last try settles it")

    async def _park(self, message: Message, park: Park, stop: asyncio.Event, parked: Parked | None) -> None:
        database, parking = self._database, self._parking
        if database is None or parking is None:
            # nowhere to put it: the record waits where it is, and its offset with it
            seconds = park.until.timestamp() - time.time()
            await pause(max(seconds, self._policy.retry_initial_s), stop)
            await self._alone(message, stop, None)
            return

        async def store() -> None:
            async with database.unit() as unit:
                if parked is None:
                    await parking.park(unit, message.raw, park.until, park.reason)
                else:
                    await parking.postpone(unit, parked, park.until, park.reason)

        await self._persist(message.topic, store, stop)
        self._on_park()
        self._meters.parked(message.topic)
        log.info("%s/%d@%d parked: %s", message.topic, message.partition, message.offset, park.reason)

    async def _bury(
        self, raw: RawRecord, reason: str, kind: str, stop: asyncio.Event, parked: Parked | None
    ) -> None:
        if self._breaker.opened or self._breaker.failure(time.monotonic()):
            self._halt(raw, reason)
        await self._persist(raw.topic, lambda: self._dead_letters.write(raw, reason, kind), stop)
        self._meters.dead(raw.topic)
        log.error("%s/%d@%d is a dead letter: %s", raw.topic, raw.partition, raw.offset, reason)

        async def settle() -> None:
            await self._dead_letters.tell(self._database, raw, reason, self._after_burial(parked))

        await self._persist(raw.topic, settle, stop)

    def _after_burial(self, parked: Parked | None) -> Callable[[UnitOfWork], Awaitable[None]] | None:
        parking = self._parking
        if parked is None or parking is None:
            return None

        async def remove(unit: UnitOfWork) -> None:
            await parking.remove(unit, parked)

        return remove

    def _halt(self, raw: RawRecord, reason: str) -> NoReturn:
        words = (
            f"stopped at {raw.topic}/{raw.partition}@{raw.offset}: {self._policy.breaker_limit} records in a"
            f" row failed for good, the last one because: {reason}"
        )
        self.trouble.halted = words
        self._meters.broken(raw.topic)
        log.critical("%s %s", self._group, words)
        raise Halted(words)

    async def _persist(self, topic: str, work: Callable[[], Awaitable[T]], stop: asyncio.Event) -> T:
        ticket = id(work)

        def on_retry(error: BaseException, attempt: int) -> None:
            self.trouble.waiting_for[ticket] = f"waiting, try {attempt}: {type(error).__name__}"
            self._meters.waits(topic)
            log.warning("%s waits, try %d: %s", self._group, attempt, type(error).__name__)

        try:
            return await persist(
                work,
                again=lambda error: is_transient(error, tuple(self._policy.transient)),
                stop=stop,
                initial_s=self._policy.retry_initial_s,
                max_s=self._policy.retry_max_s,
                on_retry=on_retry,
            )
        finally:
            self.trouble.waiting_for.pop(ticket, None)


def _first_of_each(messages: Sequence[Message], wanted: set[UUID]) -> Iterator[Message]:
    # one event may be in a batch twice: its producer repeats what it is not sure of
    left = set(wanted)
    for message in messages:
        if message.event.id in left:
            left.remove(message.event.id)
            yield message
