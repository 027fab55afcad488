"""Reading topics without a consumer group: for reconciliation and for people, never to act on."""

from collections.abc import AsyncIterator, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from imex.runtime.errors import BrokerUnavailable
from imex.runtime.kafka_client import close, connection
from imex.runtime.message import RawRecord
from imex.settings import KafkaSettings

_POLL_MS = 500
_SILENT_POLLS = 20
"""So many polls without a record and without progress, and the broker counts as away."""


class TopicReader:
    """Reads what is in topics at the time of the call. Commits nothing, so that it disturbs nobody."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        """Nothing is connected; every call makes a connection of its own and closes it."""
        self._settings = settings
        self._client_id = client_id

    async def read(self, topics: Sequence[str]) -> AsyncIterator[RawRecord]:
        """Every record from the oldest that is kept to the newest at the time of the call, by partition.

        Topics that do not exist are read as empty.

        Raises:
            BrokerUnavailable: the broker is away, or went away in between.
        """
        consumer = self._consumer()
        try:
            await consumer.start()
            partitions = await _partitions(consumer, topics)
            async for record in _up_to_now(consumer, partitions):
                yield record
        except (KafkaError, OSError) as error:
            raise BrokerUnavailable(type(error).__name__) from error
        finally:
            await close(consumer, consumer._client)

    async def one(self, topic: str, partition: int, offset: int) -> RawRecord | None:
        """One record; None when there is none there, or no more.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        consumer = self._consumer()
        try:
            await consumer.start()
            where = TopicPartition(topic, partition)
            if where not in await _partitions(consumer, (topic,)):
                return None
            first = (await consumer.beginning_offsets([where]))[where]
            end = (await consumer.end_offsets([where]))[where]
            if not first <= offset < end:
                return None
            consumer.assign([where])
            consumer.seek(where, offset)
            for _ in range(_SILENT_POLLS):
                for record in (await consumer.getmany(where, timeout_ms=_POLL_MS)).get(where, ()):
                    return _raw(record) if record.offset == offset else None
        except (KafkaError, OSError) as error:
            raise BrokerUnavailable(type(error).__name__) from error
        finally:
            await close(consumer, consumer._client)
        raise BrokerUnavailable("the broker sends nothing")

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **connection(self._settings, self._client_id),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )


async def _partitions(consumer: AIOKafkaConsumer, topics: Sequence[str]) -> list[TopicPartition]:
    # a consumer that has subscribed to nothing knows no topics; its public call gives their names only
    cluster = await consumer._client.fetch_all_metadata()
    return [
        TopicPartition(topic, number)
        for topic in topics
        for number in sorted(cluster.partitions_for_topic(topic) or ())
    ]


async def _up_to_now(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
) -> AsyncIterator[RawRecord]:
    ends = await consumer.end_offsets(list(partitions)) if partitions else {}
    starts = await consumer.beginning_offsets(list(partitions)) if partitions else {}
    left = {where for where in partitions if starts[where] < ends[where]}
    if not left:
        return
    consumer.assign(list(left))
    await consumer.seek_to_beginning(*left)
    silent = 0
    while left:
        batches = await consumer.getmany(timeout_ms=_POLL_MS)
        for where, records in batches.items():
            for record in records:
                if record.offset < ends[where]:
                    yield _raw(record)
        done = [where for where in left if await consumer.position(where) >= ends[where]]
        silent = 0 if batches or done else silent + 1
        if silent >= _SILENT_POLLS:
            raise BrokerUnavailable("the broker sends nothing")
        left -= set(done)
        if done and left:
            consumer.pause(*done)


def _raw(record: object) -> RawRecord:
    # aiokafka's records are untyped
    return RawRecord(
        topic=record.topic,  # type: ignore[attr-defined]
        partition=record.partition,  # type: ignore[attr-defined]
        offset=record.offset,  # type: ignore[attr-defined]
        timestamp_ms=record.timestamp,  # type: ignore[attr-defined]
        key=record.key,  # type: ignore[attr-defined]
        value=record.value,  # type: ignore[attr-defined]
        headers=tuple(record.headers),  # type: ignore[attr-defined]
    )
