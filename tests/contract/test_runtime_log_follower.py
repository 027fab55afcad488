"""Following a topic as a log, on a real broker."""

import asyncio
from uuid import uuid4

from imex.runtime import Producer
from imex.runtime.log_follower import LogFollower, LogRecord
from imex.settings import KafkaSettings
from imex.testing.kafka import make_topic
from imex.testing.parts import KafkaPart
from imex.testing.runtime import running, sample_event, until


async def test_every_reader_sees_every_record_in_one_order(kafka_settings: KafkaSettings) -> None:
    topic = await make_topic(kafka_settings, partitions=1)
    one: list[LogRecord] = []
    two: list[LogRecord] = []
    producers = Producer(kafka_settings, linger_ms=1), Producer(kafka_settings, linger_ms=1)
    followers = [LogFollower(kafka_settings, topic, seen.extend, back_s=60.0) for seen in (one, two)]
    async with running(*producers, *followers):
        sends = [
            producer.send(sample_event(number=number), topic)
            for number in range(50)
            for producer in producers
        ]
        await asyncio.gather(*sends)
        await until(lambda: len(one) == len(two) == 100)
        assert [record.offset for record in one] == list(range(100))
        assert [record.event for record in one] == [record.event for record in two]
        assert not followers[0].health().detail


async def test_a_reader_that_joins_reads_what_was_before(kafka_settings: KafkaSettings) -> None:
    topic = await make_topic(kafka_settings, partitions=1)
    producer = Producer(kafka_settings)
    seen: list[LogRecord] = []
    # one whose clock is far ahead of the broker's asks for a time that is yet to come, and reads everything
    ahead: list[LogRecord] = []
    async with running(producer):
        for number in range(3):
            await producer.send(sample_event(number=number), topic)
        await producer.send_raw(topic, None, b"not an event", ())
        followers = [
            LogFollower(kafka_settings, topic, seen.extend, back_s=60.0),
            LogFollower(kafka_settings, topic, ahead.extend, back_s=-3600.0),
        ]
        async with running(*followers):
            await until(lambda: len(seen) == len(ahead) == 3)


async def test_nothing_is_missed_or_seen_twice_when_the_broker_was_away(
    kafka: KafkaPart, kafka_settings: KafkaSettings
) -> None:
    topic = await make_topic(kafka_settings, partitions=1)
    producer = Producer(kafka_settings)
    seen: list[LogRecord] = []
    follower = LogFollower(kafka_settings, topic, seen.extend, back_s=60.0)
    ids = [uuid4() for _ in range(2)]
    async with running(producer, follower):
        await producer.send(sample_event(event_id=ids[0]), topic)
        await until(lambda: len(seen) == 1)
        kafka.part.kill()
        kafka.part.start()
        await until(lambda: _sent(producer, topic, ids[1]), 60)
        await until(lambda: len(seen) == 2, 60)
    assert [record.event.id for record in seen] == ids


async def _sent(producer: Producer, topic: str, event_id: object) -> bool:
    try:
        await producer.send(sample_event(event_id=event_id), topic)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  not yet
        return False
    return True
