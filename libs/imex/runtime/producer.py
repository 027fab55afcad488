"""The producer: idempotent, acknowledged by all replicas, and never waiting without a bound."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner

from imex.events import Event, topic_of
from imex.runtime.backoff import persist
from imex.runtime.errors import BrokerUnavailable, Poison
from imex.runtime.health import Health
from imex.runtime.kafka_client import close, connection
from imex.runtime.message import Headers
from imex.settings import KafkaSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to produce."""

    topic: str
    key: str
    value: bytes
    headers: Mapping[str, str]


class Producer:
    """Sends events; a send that returns has been acknowledged.

    `linger_ms` is how long a record waits for others: 0 where they come in batches anyway, as a relay's do,
    or where somebody waits for each. `timeout_s` bounds every wait: aiokafka alone
    would hang while Kafka is away. After a timeout the record may still arrive, as an idempotent producer
    repeats until it succeeds; order within a partition holds all the same.
    """

    name = "producer"

    def __init__(
        self,
        settings: KafkaSettings,
        client_id: str = "imex",
        linger_ms: int = 0,
        timeout_s: float = 15.0,
    ) -> None:
        """Nothing is connected yet."""
        self._settings = settings
        self._client_id = client_id
        self._linger_ms = linger_ms
        self._timeout_s = timeout_s
        self._producer: AIOKafkaProducer | None = None
        self._partitioner = DefaultPartitioner()
        self._stopping = asyncio.Event()
        self._trouble: str | None = None
        self._restarting = asyncio.Lock()

    async def start(self) -> None:
        """Connect, however long it takes for the broker to be there."""
        self._producer = await persist(
            self._connect,
            again=lambda error: isinstance(error, (KafkaError, OSError)),
            stop=self._stopping,
            initial_s=0.1,
            max_s=2.0,
            on_retry=self._note,
        )
        self._trouble = None

    async def stop(self) -> None:
        """Send what is under way, for a few seconds at most."""
        self._stopping.set()
        producer, self._producer = self._producer, None
        if producer is not None:
            await close(producer, producer.client)

    def health(self) -> Health:
        """Degraded while the broker does not answer; the owner may work without it, so still ready."""
        connected = self._producer is not None
        return Health(ready=connected, detail=self._trouble or ("" if connected else "connecting to Kafka"))

    async def send(self, event: Event[Any], topic: str | None = None) -> None:
        """Publish one event to its topic of the catalogue, or to `topic`.

        Raises:
            BrokerUnavailable: not acknowledged within the bound.
        """
        headers = {"ce_type": event.type, "ce_id": str(event.id)}
        if event.traceparent:
            headers["traceparent"] = event.traceparent
        encoded = tuple((name, value.encode()) for name, value in headers.items())
        await self.send_raw(topic or topic_of(event), event.key.encode(), event.encode(), encoded)

    async def send_raw(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Publish bytes as they are.

        Raises:
            BrokerUnavailable: not acknowledged within the bound.
            Poison: the broker will never take a record so large.
        """
        producer = self._connected()
        try:
            async with asyncio.timeout(self._timeout_s):
                future = await producer.send(topic, value=value, key=key, headers=list(headers))
                await future
        except MessageSizeTooLargeError:
            raise Poison("the record is larger than the broker takes") from None
        except (KafkaError, TimeoutError, OSError) as error:
            raise await self._unavailable(error) from error
        self._trouble = None

    async def send_in_order(self, records: Sequence[Outgoing]) -> list[bool]:
        """Publish `records` so that each partition gets them in their order, and say which arrived.

        Each partition gets one Kafka batch, which arrives as a whole or not at all, so that a failure
        never leaves a later record of a key ahead of an earlier one. What does not fit is not sent and
        reported as not arrived, like what failed.

        Raises:
            BrokerUnavailable: nothing arrived.
        """
        producer = self._connected()
        arrived = [False] * len(records)
        try:
            async with asyncio.timeout(self._timeout_s):
                batches = await self._batches(producer, records)
                outcomes = await asyncio.gather(
                    *(
                        self._send_batch(producer, topic, partition, batch.builder)
                        for (topic, partition), batch in batches.items()
                    ),
                    return_exceptions=True,
                )
        except (KafkaError, TimeoutError, OSError) as error:
            raise await self._unavailable(error) from error
        failure: BaseException | None = None
        for batch, outcome in zip(batches.values(), outcomes, strict=True):
            if isinstance(outcome, BaseException):
                failure = outcome
            else:
                for index in batch.indexes:
                    arrived[index] = True
        if failure is not None:
            unavailable = await self._unavailable(failure)
            if not any(arrived):
                raise unavailable from failure
        else:
            self._trouble = None
        return arrived

    async def _batches(
        self, producer: AIOKafkaProducer, records: Sequence[Outgoing]
    ) -> dict[tuple[str, int], "_Batch"]:
        counts = {topic: await self._partitions(producer, topic) for topic in {r.topic for r in records}}
        batches: dict[tuple[str, int], _Batch] = {}
        for index, record in enumerate(records):
            key = record.key.encode()
            partitions = counts[record.topic]
            partition = self._partitioner(key, partitions, partitions)
            batch = batches.setdefault((record.topic, partition), _Batch(producer.create_batch()))
            batch.add(index, key, record.value, record.headers.items())
        return batches

    async def _partitions(self, producer: AIOKafkaProducer, topic: str) -> list[int]:
        return sorted(await producer.partitions_for(topic))

    async def _send_batch(self, producer: AIOKafkaProducer, topic: str, partition: int, builder: Any) -> None:
        builder.close()
        future = await producer.send_batch(builder, topic, partition=partition)
        await asyncio.wait_for(future, self._timeout_s)

    def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise BrokerUnavailable("not connected to Kafka")
        return self._producer

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **connection(self._settings, self._client_id),
            acks="all",
            enable_idempotence=True,
            linger_ms=self._linger_ms,
            max_batch_size=128 * 1024,
            retry_backoff_ms=50,
        )
        try:
            await asyncio.wait_for(producer.start(), self._timeout_s)
        except BaseException:
            await close(producer, producer.client)
            raise
        return producer

    async def _unavailable(self, error: BaseException) -> BrokerUnavailable:
        self._note(error, 1)
        await self._replace_if_dead()
        return BrokerUnavailable(f"Kafka did not acknowledge: {type(error).__name__}")

    async def _replace_if_dead(self) -> None:
        # a sender task that has died (fenced, out of sequence, not authorised) never recovers by itself
        async with self._restarting:
            producer = self._producer
            task = producer._sender.sender_task if producer is not None else None
            if producer is None or task is None or not task.done() or self._stopping.is_set():
                return
            log.error("the Kafka producer has died and is replaced")
            try:
                self._producer = await self._connect()
            except (KafkaError, OSError, TimeoutError):
                return
            await close(producer, producer.client)

    def _note(self, error: BaseException, _attempt: int) -> None:
        self._trouble = f"Kafka: {type(error).__name__}"


class _Batch:
    """One Kafka batch under construction, and the places of its records in the request."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.indexes: list[int] = []
        self._full = False

    def add(self, index: int, key: bytes, value: bytes, headers: Iterable[tuple[str, str]]) -> None:
        # nothing more once one record did not fit: a smaller later one must not overtake it
        if self._full:
            return
        encoded = [(name, text.encode()) for name, text in headers]
        if self.builder.append(timestamp=None, key=key, value=value, headers=encoded) is None:
            self._full = True
        else:
            self.indexes.append(index)
