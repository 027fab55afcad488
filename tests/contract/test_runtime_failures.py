"""What becomes of records that cannot be handled, on real parts."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka.admin import NewTopic
from sqlalchemy import select

from imex.db import Database, UnitOfWork
from imex.events import Event
from imex.runtime import Consumer, Message, Park, Poison, Policy, Producer, RawRecord, Transient
from imex.runtime.parking import ParkingLot, Queue
from imex.runtime.topics import connect_admin
from imex.settings import KafkaSettings
from imex.testing.runtime import read_all, running, sample_event, until

QUICK = Policy(retry_initial_s=0.01, retry_max_s=0.2, parked_poll_s=0.05, commit_every_s=0.1)


def number_of(message: Message) -> int:
    number = message.event.data.received
    assert isinstance(number, int)
    return number


async def produce(producer: Producer, topic: str, *events: Event[Any]) -> None:
    for event in events:
        await producer.send(event, topic)


async def test_a_poison_record_becomes_a_dead_letter_and_stops_only_itself(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    handled: list[int] = []
    told: list[tuple[RawRecord, str]] = []

    async def handler(messages: Sequence[Message], _unit: UnitOfWork) -> None:
        numbers = [number_of(message) for message in messages]
        if 2 in numbers:
            raise Poison("of no use")
        handled.extend(numbers)

    async def hook(raw: RawRecord, reason: str, unit: UnitOfWork | None) -> None:
        assert unit is not None
        told.append((raw, reason))

    producer = Producer(kafka_settings)
    consumer = Consumer(
        kafka_settings, "imex-sample-poison", [topic], handler, database, QUICK, on_dead_letter=hook
    )
    bad = sample_event("s", 2)
    async with running(producer):
        await produce(producer, topic, sample_event("s", 1), bad, sample_event("s", 3))
        async with running(consumer):
            (letter,) = await read_all(kafka_settings, f"dead.{topic}", 1)
            await until(lambda: handled == [1, 3])
            assert consumer.health().ready

    assert letter.value == bad.encode()
    assert letter.key == b"RQM/s"
    assert letter.header("ce_id") == str(bad.id)
    assert letter.header("traceparent") == bad.traceparent
    assert letter.header("dead_reason") == "of no use"
    assert letter.header("dead_exception") == "Poison"
    assert letter.header("dead_topic") == topic
    assert [(raw.offset, reason) for raw, reason in told] == [(1, "of no use")]


async def test_an_undecodable_record_is_never_offered_to_the_handler(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    handled: list[int] = []

    async def handler(messages: Sequence[Message], _unit: UnitOfWork) -> None:
        handled.extend(map(number_of, messages))

    producer = Producer(kafka_settings)
    secret = b'{"type": "imex.association.ended", "data": {"received": "DOE^JANE"}}'
    async with running(producer):
        await producer.send_raw(topic, b"RQM/s", secret, (("x", b"\xff\x00"),))
        await producer.send_raw(topic, b"RQM/s", None, ())
        await produce(producer, topic, sample_event("s", 1))
        async with running(Consumer(kafka_settings, "imex-sample-junk", [topic], handler, database, QUICK)):
            letters = await read_all(kafka_settings, f"dead.{topic}", 2)
            await until(lambda: handled == [1])

    assert [letter.value for letter in letters] == [secret, None]
    assert letters[0].headers[0] == ("x", b"\xff\x00")
    reason = letters[0].header("dead_reason")
    assert reason is not None
    assert "undecodable" in reason
    assert "DOE" not in str(letters[0].headers)


async def test_a_failing_handler_is_tried_so_often_and_its_words_stay_inside(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    tries: list[int] = []

    async def handler(messages: Sequence[Message], _unit: UnitOfWork) -> None:
        tries.extend(map(number_of, messages))
        raise ValueError("cannot read DOE^JANE")

    producer = Producer(kafka_settings)
    async with running(producer):
        await produce(producer, topic, sample_event("s", 7))
        async with running(Consumer(kafka_settings, "imex-sample-tries", [topic], handler, database, QUICK)):
            (letter,) = await read_all(kafka_settings, f"dead.{topic}", 1)
    assert letter.header("dead_exception") == "ValueError"
    assert letter.header("dead_reason") == "unexpected ValueError"
    # once as a batch, then so often alone
    assert tries == [7] * (1 + QUICK.attempts)


async def test_what_a_failed_batch_did_is_rolled_back(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    fails = 2

    async def handler(messages: Sequence[Message], unit: UnitOfWork) -> None:
        nonlocal fails
        for message in messages:
            unit.publish(message.event, topic="onward")
        await unit.flush()
        if fails:
            fails -= 1
            raise ValueError

    producer = Producer(kafka_settings)
    async with running(producer):
        await produce(producer, topic, sample_event("s", 1))
        async with running(Consumer(kafka_settings, "imex-sample-undo", [topic], handler, database, QUICK)):

            async def published() -> bool:
                async with database.unit() as unit:
                    rows = await unit.connection.execute(select(database.common.outbox.c.seq))
                    return len(rows.all()) == 1

            await until(published)
    assert fails == 0


async def test_a_dependency_that_is_away_is_waited_for_and_health_says_so(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    away = True
    handled: list[int] = []

    async def handler(messages: Sequence[Message], _unit: UnitOfWork) -> None:
        if away:
            raise Transient("the object store is away")
        handled.extend(map(number_of, messages))

    producer = Producer(kafka_settings)
    consumer = Consumer(kafka_settings, "imex-sample-away", [topic], handler, database, QUICK)
    async with running(producer, consumer):
        await produce(producer, topic, *(sample_event("s", number) for number in range(5)))
        await until(lambda: "try 5" in consumer.health().detail)
        assert consumer.health().ready
        assert handled == []
        away = False
        await until(lambda: handled == list(range(5)))
        await until(lambda: consumer.health().detail == "")


async def test_a_dead_letter_that_cannot_be_written_holds_the_offset(
    kafka_settings: KafkaSettings, database: Database
) -> None:
    admin = await connect_admin(kafka_settings)
    topic = f"nodead{datetime.now(UTC).timestamp():.6f}".replace(".", "")
    await admin.create_topics([NewTopic(topic, 1, 1)])

    async def handler(_messages: Sequence[Message], _unit: UnitOfWork) -> None:
        raise Poison("of no use")

    def consumer(producer: Producer) -> Consumer:
        return Consumer(
            kafka_settings, "imex-sample-nodead", [topic], handler, database, QUICK, producer=producer
        )

    impatient = Producer(kafka_settings, timeout_s=0.5)
    async with running(impatient):
        await produce(impatient, topic, sample_event("s", 1))
        first = consumer(impatient)
        async with running(first):
            await until(lambda: "BrokerUnavailable" in first.health().detail)
        committed = await admin.list_consumer_group_offsets("imex-sample-nodead")
        assert not [value for value in committed.values() if value.offset > 0]
        await admin.create_topics([NewTopic(f"dead.{topic}", 1, 1)])
        async with running(consumer(impatient)):
            letters = await read_all(kafka_settings, f"dead.{topic}", 1)
    await admin.close()
    assert letters[0].header("dead_reason") == "of no use"


async def test_a_run_of_failures_stops_the_pipeline_and_not_the_topic(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    async def handler(_messages: Sequence[Message], _unit: UnitOfWork) -> None:
        raise KeyError

    policy = Policy(retry_initial_s=0.001, attempts=1, breaker_limit=4, commit_every_s=0.1)
    producer = Producer(kafka_settings)
    consumer = Consumer(kafka_settings, "imex-sample-breaker", [topic], handler, database, policy)
    async with running(producer, consumer):
        await produce(producer, topic, *(sample_event(f"s{number}", number) for number in range(20)))
        await until(lambda: not consumer.health().ready and "stopped at" in consumer.health().detail)
        assert consumer.health().live
        assert "4 records in a row" in consumer.health().detail
    letters = await read_all(kafka_settings, f"dead.{topic}", 3)
    assert len(letters) == 3


async def test_a_parked_key_keeps_its_order_and_holds_up_nobody(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    handled: list[tuple[str, int]] = []
    due = datetime.now(UTC) + timedelta(days=1)

    async def handler(messages: Sequence[Message], _unit: UnitOfWork) -> None:
        for message in messages:
            if message.key == "RQM/late" and datetime.now(UTC) < due:
                raise Park(due, "the directory is behind")
        handled.extend((message.key, number_of(message)) for message in messages)

    def consumer() -> Consumer:
        return Consumer(kafka_settings, "imex-sample-parked", [topic], handler, database, QUICK)

    async def parked() -> int:
        async with database.unit() as unit:
            return len((await unit.connection.execute(select(database.common.parked.c.id))).all())

    producer = Producer(kafka_settings)
    async with running(producer):
        async with running(consumer()):
            await produce(producer, topic, sample_event("late", 1), sample_event("other", 1))
            await until(lambda: ("RQM/other", 1) in handled)
            await produce(producer, topic, sample_event("late", 2), sample_event("other", 2))
            await until(lambda: ("RQM/other", 2) in handled)

            async def both_parked() -> bool:
                return await parked() == 2

            await until(both_parked)
        # the queue is durable: a new process finds it, and what comes meanwhile joins it
        due = datetime.now(UTC) + timedelta(seconds=0.5)
        async with database.unit() as unit:
            await unit.connection.execute(database.common.parked.update().values(until=due))
        async with running(consumer()):
            await produce(producer, topic, sample_event("late", 3), sample_event("late", 4))
            await until(lambda: len(handled) == 6)
    assert [number for key, number in handled if key == "RQM/late"] == [1, 2, 3, 4]
    assert await parked() == 0


async def test_without_a_database_records_are_handled_at_least_once(
    kafka_settings: KafkaSettings, topic: str
) -> None:
    handled: list[int] = []
    fail_once = True

    async def handler(messages: Sequence[Message]) -> None:
        nonlocal fail_once
        if fail_once:
            fail_once = False
            raise ConnectionError
        handled.extend(map(number_of, messages))
        await asyncio.sleep(0)

    producer = Producer(kafka_settings)
    consumer = Consumer(
        kafka_settings, "imex-sample-stateless", [topic], policy=QUICK, stateless=handler, producer=producer
    )
    async with running(producer, consumer):
        await produce(producer, topic, *(sample_event("s", number) for number in range(3)))
        await until(lambda: handled == [0, 1, 2])


async def test_where_nothing_is_parked_the_database_is_left_alone(
    kafka_settings: KafkaSettings, database: Database, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    queues = ParkingLot.queues

    async def counted(lot: ParkingLot, partitions: Sequence[tuple[str, int]]) -> list[Queue]:
        nonlocal looks
        looks += 1
        return await queues(lot, partitions)

    monkeypatch.setattr(ParkingLot, "queues", counted)

    async def handler(_messages: Sequence[Message], _unit: UnitOfWork) -> None: ...

    async with running(Consumer(kafka_settings, "imex-sample-idle", [topic], handler, database, QUICK)):
        await until(lambda: looks == 1)
        await asyncio.sleep(20 * QUICK.parked_poll_s)
    assert looks == 1
