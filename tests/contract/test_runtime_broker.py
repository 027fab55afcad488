"""The broker goes away and comes back."""

import asyncio
import time
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import func, select

from imex.db import Database, UnitOfWork
from imex.events import decode
from imex.local.process import StartFailed
from imex.runtime import BrokerUnavailable, Consumer, Message, Policy, Producer, Relay
from imex.settings import KafkaSettings
from imex.testing.kafka import make_topic
from imex.testing.parts import KafkaPart, kafka_part
from imex.testing.runtime import read_all, running, sample_event, until


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaPart]:
    """A broker of this module's own, since it is killed."""
    with kafka_part(tmp_path_factory.mktemp("kafka")) as part:
        yield part


@pytest.fixture
def broker(own_broker: KafkaPart) -> KafkaPart:
    """It runs when a test begins, whatever the one before left."""
    try:
        assert own_broker.part.pid
    except StartFailed:
        own_broker.part.start()
    return own_broker


@pytest.fixture
def broker_settings(broker: KafkaPart) -> KafkaSettings:
    return KafkaSettings.model_validate(
        {"bootstrap": broker.bootstrap, "username": broker.username, "password": broker.password}
    )


async def test_a_broker_restarted_under_load_loses_and_reorders_nothing(
    broker: KafkaPart, broker_settings: KafkaSettings, database: Database
) -> None:
    """Also: what a producer does while it is away, and that stopping then is bounded."""
    topic, onward = await make_topic(broker_settings), await make_topic(broker_settings)
    acknowledged: list[int] = []
    refused = 0
    stop = asyncio.Event()

    async def handler(messages: Sequence[Message], unit: UnitOfWork) -> None:
        for message in messages:
            unit.publish(message.event, topic=onward)

    producer = Producer(broker_settings, timeout_s=1.0)
    consumer = Consumer(broker_settings, "imex-sample-restart", [topic], handler, database, Policy())
    relay = Relay(database, database.schema, producer)

    async def load() -> None:
        nonlocal refused
        number = 0
        while not stop.is_set():
            number += 1
            event = sample_event(f"study{number % 7}", number)
            # as a sender does: the same fact again until it is acknowledged
            while True:
                started = time.monotonic()
                try:
                    await producer.send(event, topic)
                except BrokerUnavailable:
                    assert time.monotonic() - started < 3
                    refused += 1
                else:
                    break
            acknowledged.append(number)
            await asyncio.sleep(0.002)

    async with running(producer, relay, consumer):
        loading = asyncio.create_task(load())
        await until(lambda: len(acknowledged) > 200)
        await asyncio.to_thread(broker.part.kill)
        before = len(acknowledged)
        await until(lambda: refused > 0)
        assert len(acknowledged) <= before + 1
        await asyncio.to_thread(broker.part.start)
        await until(lambda: len(acknowledged) > before + 200, within_s=40)
        stop.set()
        await loading
        await until(lambda: consumer.health().ready, within_s=40)

        async def outbox_is_empty() -> bool:
            async with database.unit() as unit:
                waiting = await unit.connection.scalar(
                    select(func.count()).select_from(database.common.outbox)
                )
                inbox = await unit.connection.scalar(select(func.count()).select_from(database.common.inbox))
            return waiting == 0 and inbox == len(acknowledged)

        await until(outbox_is_empty, within_s=40)
        records = await read_all(broker_settings, onward, len(acknowledged))

        first_seen: dict[str, list[int]] = {}
        for record in records:
            assert record.value is not None
            event = decode(record.value)
            numbers = first_seen.setdefault(event.key, [])
            if event.data.received not in numbers:
                numbers.append(event.data.received)
        assert sorted(number for numbers in first_seen.values() for number in numbers) == acknowledged
        assert all(numbers == sorted(numbers) for numbers in first_seen.values())

        await asyncio.to_thread(broker.part.kill)
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            await producer.send(sample_event(), topic)
    assert time.monotonic() - started < 40


async def test_a_producer_waits_for_a_broker_that_is_not_there_yet(
    broker: KafkaPart, broker_settings: KafkaSettings
) -> None:
    topic = await make_topic(broker_settings)
    await asyncio.to_thread(broker.part.kill)
    producer = Producer(broker_settings)
    starting = asyncio.create_task(producer.start())
    await until(lambda: "Kafka" in producer.health().detail)
    assert not producer.health().ready
    with pytest.raises(BrokerUnavailable):
        await producer.send(sample_event(), topic)
    await asyncio.to_thread(broker.part.start)
    await asyncio.wait_for(starting, 30)
    await producer.send(sample_event(), topic)
    assert producer.health().ready
    await producer.stop()
