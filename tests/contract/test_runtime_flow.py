"""The way of a record on real parts: producer, consumer, unit of work, outbox, relay."""

from collections import defaultdict
from collections.abc import Sequence

from imex.db import Database, UnitOfWork
from imex.events import decode
from imex.runtime.consumer import Consumer
from imex.runtime.message import Message
from imex.runtime.policy import Policy
from imex.runtime.producer import Producer
from imex.runtime.relay import Relay
from imex.settings import KafkaSettings
from imex.testing.kafka import make_topic
from imex.testing.runtime import read_all, sample_event, until


async def test_events_pass_a_service_in_order_and_once(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    onward = await make_topic(kafka_settings)
    seen: dict[str, list[int]] = defaultdict(list)

    async def handler(messages: Sequence[Message], unit: UnitOfWork) -> None:
        for message in messages:
            seen[message.key].append(message.event.data.received)
            unit.publish(message.event, topic=onward)

    producer = Producer(kafka_settings)
    relay = Relay(database, database.schema, producer)
    consumer = Consumer(
        kafka_settings, "imex-sample-flow", [topic], handler, database, Policy(batch_records=16)
    )
    await producer.start()
    await relay.start()
    await consumer.start()
    try:
        repeated = sample_event("study0", 1)
        for event in [repeated, repeated]:
            await producer.send(event, topic)
        for number in range(2, 21):
            for study in range(5):
                await producer.send(sample_event(f"study{study}", number), topic)
        records = await read_all(kafka_settings, onward, 96)
    finally:
        await consumer.stop()
        await relay.stop()
        await producer.stop()

    assert len(records) == 96
    by_key: dict[bytes, list[int]] = defaultdict(list)
    for record in records:
        assert record.key is not None
        assert record.value is not None
        by_key[record.key].append(decode(record.value).data.received)
        assert record.header("ce_type") == "imex.association.ended"
        assert record.header("traceparent")
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    assert seen["RQM/study0"] == list(range(1, 21))


async def test_what_was_handled_is_committed_and_not_read_again(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    handled: list[int] = []

    async def handler(messages: Sequence[Message], _unit: UnitOfWork) -> None:
        handled.extend(message.event.data.received for message in messages)

    producer = Producer(kafka_settings)
    await producer.start()
    for number in range(2):
        consumer = Consumer(kafka_settings, "imex-sample-committed", [topic], handler, database)
        await consumer.start()
        await producer.send(sample_event("s", number), topic)
        await until(lambda n=number: n in handled)  # type: ignore[misc]
        await consumer.stop()
    await producer.stop()
    assert handled == [0, 1]


async def test_an_idle_partition_is_read_through_to_the_present(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    async def handler(_messages: Sequence[Message], _unit: UnitOfWork) -> None:
        return

    event = sample_event("s")
    consumer = Consumer(kafka_settings, "imex-sample-idle", [topic], handler, database)
    await consumer.start()
    try:
        assert consumer.read_through(topic, 0) is None

        def all_read() -> bool:
            times = [consumer.read_through(topic, partition) for partition in range(3)]
            return all(time is not None and time > event.time for time in times)

        await until(all_read)
    finally:
        await consumer.stop()
