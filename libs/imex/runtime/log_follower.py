"""Follows a topic of one partition as a log: every process reads all of it, in the one order that it has."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from imex.events import Event, UndecodableEvent, decode
from imex.runtime.backoff import Interrupted, pause
from imex.runtime.health import Health
from imex.runtime.kafka_client import following
from imex.runtime.loops import Loops
from imex.settings import KafkaSettings

log = logging.getLogger(__name__)

_POLL_MS = 200
_AGAIN_S = 0.5
_SELDOM_S = 5.0


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record: its offset, the broker's or producer's time in seconds, and its event."""

    offset: int
    at: float
    event: Event[Any]


class LogFollower:
    """Hands every record to `take`, from `back_s` seconds ago on, and goes on where it stopped after a fault.

    No group and no commits. Records that cannot be decoded are logged and left out.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        take: Callable[[Sequence[LogRecord]], None],
        *,
        back_s: float,
    ) -> None:
        """`take` must not block and must not raise."""
        self.name = f"log {topic}"
        self._settings = settings
        self._partition = TopicPartition(topic, 0)
        self._take = take
        self._back_s = back_s
        self._next: int | None = None
        self._stopping = asyncio.Event()
        self._loops = Loops()
        self._trouble = "connecting to Kafka"

    async def start(self) -> None:
        """Begin to follow; returns at once."""
        self._loops.start(self._run(), self.name)

    async def stop(self) -> None:
        """Stop following."""
        self._stopping.set()
        await self._loops.stop(5.0)

    def health(self) -> Health:
        """Degraded while the topic cannot be read; what that means is for its user to say."""
        return Health(live=not self._loops.failed, detail=self._loops.failed or self._trouble)

    async def _run(self) -> None:
        again_s = _AGAIN_S
        while not self._stopping.is_set():
            try:
                await self._follow()
            except (KafkaError, OSError, TimeoutError) as error:
                again_s = min(2 * again_s, _SELDOM_S) if self._trouble else _AGAIN_S
                trouble = f"cannot follow {self._partition.topic}: {_words(error)}"
                if trouble != self._trouble:
                    log.warning("%s", trouble)
                self._trouble = trouble
                try:
                    await pause(again_s, self._stopping)
                except Interrupted:
                    return

    async def _follow(self) -> None:
        async with following(self._settings, self._partition) as client:
            await self._begin(client)
            self._trouble = ""
            while not self._stopping.is_set():
                fetched = await client.getmany(timeout_ms=_POLL_MS)
                records = fetched.get(self._partition, ())
                if records:
                    self._next = records[-1].offset + 1
                    self._take([found for record in records if (found := _decoded(record)) is not None])

    async def _begin(self, client: AIOKafkaConsumer) -> None:
        if self._next is not None:
            client.seek(self._partition, self._next)
            return
        since = int((time.time() - self._back_s) * 1000)
        found = (await client.offsets_for_times({self._partition: since})).get(self._partition)
        if found is None:
            # nothing since then, or our clock is ahead of the broker's: the topic is short, read all of it
            await client.seek_to_beginning(self._partition)
        else:
            client.seek(self._partition, found.offset)


def _words(error: Exception) -> str:
    if isinstance(error, UnknownTopicOrPartitionError):
        return "there is no such topic, or it may not be read; `imex setup` creates what is missing"
    return type(error).__name__


def _decoded(record: Any) -> LogRecord | None:
    try:
        event = decode(record.value or b"")
    except UndecodableEvent as error:
        log.error("a record of %s cannot be read: %s", record.topic, error)
        return None
    return LogRecord(record.offset, record.timestamp / 1000, event)
