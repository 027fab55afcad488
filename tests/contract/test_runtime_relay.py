"""The outbox and its relay with concurrent writers."""

import asyncio
from collections import defaultdict
from random import Random

import pytest
from aiokafka.admin import NewTopic
from sqlalchemy import func, select

from imex.db import Database
from imex.db.outbox import FEED_TOPIC, settled_rows
from imex.events import decode
from imex.runtime import Producer, Relay
from imex.runtime.topics import connect_admin
from imex.settings import KafkaSettings
from imex.testing.runtime import read_all, running, sample_event, until


async def outbox_rows(database: Database) -> list[tuple[int, str, int | None]]:
    outbox = database.common.outbox
    async with database.unit() as unit:
        rows = await unit.connection.execute(
            select(outbox.c.seq, outbox.c.topic, outbox.c.cursor).order_by(outbox.c.seq)
        )
        return [(row.seq, row.topic, row.cursor) for row in rows]


async def test_a_row_waits_for_lower_numbers_that_are_still_to_come(database: Database) -> None:
    async with database.engine.connect() as plain:
        reader = await plain.execution_options(isolation_level="AUTOCOMMIT")
        async with database.unit() as early:
            early.publish(sample_event("early"), topic="t")
            await early.flush()
            async with database.unit() as late:
                late.publish(sample_event("late"), topic="t")
            looking = asyncio.create_task(settled_rows(reader, database.common, 10))
            done, _ = await asyncio.wait([looking], timeout=0.2)
            assert not done
        rows = await asyncio.wait_for(looking, 5)
    assert [row.key for row in rows] == ["RQM/early", "RQM/late"]


async def test_a_long_transaction_that_publishes_nothing_yet_holds_up_nobody(database: Database) -> None:
    async with database.engine.connect() as plain:
        reader = await plain.execution_options(isolation_level="AUTOCOMMIT")
        async with database.unit() as long:
            await long.claim([sample_event().id])
            long.publish(sample_event("long"), topic="t")
            async with database.unit() as short:
                short.publish(sample_event("short"), topic="t")
            rows = await asyncio.wait_for(settled_rows(reader, database.common, 10), 5)
            assert [row.key for row in rows] == ["RQM/short"]


async def test_what_is_rolled_back_is_never_published(database: Database) -> None:
    with pytest.raises(RuntimeError, match="no"):
        async with database.unit() as unit:
            unit.publish(sample_event(), topic="t")
            await unit.flush()
            raise RuntimeError("no")
    assert await outbox_rows(database) == []


async def test_concurrent_writers_keep_the_order_of_each_key_through_two_relays(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    """Writers of a key follow each other; a second relay stands by and takes over half-way."""
    random = Random(7)
    keys, each = 8, 12

    async def write(key: int) -> None:
        for number in range(each):
            async with database.unit() as unit:
                unit.publish(sample_event(f"study{key}", number), topic=topic)
                await unit.flush()
                # commits come in another order than the numbers were drawn in
                await asyncio.sleep(random.random() * 0.01)

    producer = Producer(kafka_settings, linger_ms=0)
    first, second = (Relay(database, database.schema, producer) for _ in range(2))
    async with running(producer, first, second):
        await asyncio.gather(*(write(key) for key in range(keys // 2)))
        await first.stop()
        await asyncio.gather(*(write(key) for key in range(keys // 2, keys)))
        records = await read_all(kafka_settings, topic, keys * each)

        async def empty() -> bool:
            return await outbox_rows(database) == []

        await until(empty)

    assert len(records) == keys * each
    numbers: dict[bytes, list[int]] = defaultdict(list)
    for record in records:
        assert record.key is not None
        assert record.value is not None
        numbers[record.key].append(decode(record.value).data.received)
    assert all(found == list(range(each)) for found in numbers.values())


async def test_the_feed_keeps_its_rows_with_cursors_that_have_no_gaps(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    admin = await connect_admin(kafka_settings)
    await admin.create_topics([NewTopic(FEED_TOPIC, 3, 1)])
    await admin.close()

    async def write(number: int) -> None:
        async with database.unit() as unit:
            unit.publish(sample_event(f"study{number % 5}", number), topic=FEED_TOPIC)
            unit.publish(sample_event(f"study{number % 5}", number), topic=topic)

    producer = Producer(kafka_settings)
    async with running(producer, Relay(database, database.schema, producer)):
        await asyncio.gather(*(write(number) for number in range(40)))

        async def all_published() -> bool:
            rows = await outbox_rows(database)
            return len(rows) == 40 and all(cursor for _, _, cursor in rows)

        await until(all_published)
    rows = await outbox_rows(database)
    assert sorted(cursor for _, _, cursor in rows if cursor) == list(range(1, 41))


async def test_a_commit_of_this_process_is_on_kafka_within_milliseconds(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    producer = Producer(kafka_settings, linger_ms=0)
    loop = asyncio.get_running_loop()

    async def once() -> float:
        started = loop.time()
        async with database.unit() as unit:
            unit.publish(sample_event(), topic=topic)
        outbox = database.common.outbox
        while True:
            async with database.unit() as unit:
                if not await unit.connection.scalar(select(func.count()).select_from(outbox)):
                    return loop.time() - started

    async with running(producer, Relay(database, database.schema, producer)):
        times = sorted([await once() for _ in range(20)])
    # the quickest: on a busy machine others are slow through no fault of the relay, and a relay that
    # only polls would be slow every time
    assert times[0] < 0.1, times
