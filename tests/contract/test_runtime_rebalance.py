"""Members come and go while a handler is slow."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from imex.db import Database, UnitOfWork
from imex.runtime import Consumer, Message, Policy, Producer
from imex.settings import KafkaSettings
from imex.testing.runtime import running, sample_event, until


async def test_what_runs_at_a_rebalance_is_finished_and_committed_first(
    kafka_settings: KafkaSettings, topic: str
) -> None:
    """Without a database, so that no inbox hides a record that is handed over twice."""
    calls: Counter[int] = Counter()
    done: list[tuple[str, int]] = []
    running_keys: set[str] = set()
    overlaps: list[str] = []

    async def handler(messages: Sequence[Message]) -> None:
        keys = {message.key for message in messages}
        overlaps.extend(keys & running_keys)
        running_keys.update(keys)
        calls.update(message.event.data.received for message in messages)
        await asyncio.sleep(0.3)
        running_keys.difference_update(keys)
        done.extend((message.key, message.event.data.received) for message in messages)

    policy = Policy(batch_records=3, concurrency=2)

    def member() -> Consumer:
        return Consumer(kafka_settings, "imex-sample-rebalance", [topic], policy=policy, stateless=handler)

    numbers = list(range(48))
    producer = Producer(kafka_settings)
    first, second = member(), member()
    async with running(producer, first):
        for number in numbers:
            await producer.send(sample_event(f"study{number % 12}", number), topic)
        await until(lambda: len(done) > 3)
        async with running(second):
            await until(lambda: bool(second.partitions()) and bool(first.partitions()))
            assert not first.partitions() & second.partitions()
            await until(lambda: len(set(done)) == len(numbers), within_s=40)

    assert not overlaps
    # finished batches were committed at the rebalance: nobody was handed them again
    assert set(calls.values()) == {1}
    for key in {key for key, _ in done}:
        assert [n for k, n in done if k == key] == sorted(n for k, n in done if k == key)


async def test_a_handler_that_does_not_end_is_given_up_at_the_deadline(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    stuck = asyncio.Event()
    handled: list[int] = []

    async def hangs(_messages: Sequence[Message], _unit: UnitOfWork) -> None:
        stuck.set()
        await asyncio.sleep(3600)

    async def works(messages: Sequence[Message], _unit: UnitOfWork) -> None:
        handled.extend(message.event.data.received for message in messages)

    producer = Producer(kafka_settings)
    policy = Policy(drain_s=0.5)
    group = "imex-sample-deadline"
    first = Consumer(kafka_settings, group, [topic], hangs, database, policy)
    async with running(producer, first):
        await producer.send(sample_event("s", 1), topic)
        await stuck.wait()
        started = time.monotonic()
        await first.stop()
        assert time.monotonic() - started < 5
        async with running(Consumer(kafka_settings, group, [topic], works, database)):
            await until(lambda: handled == [1])
