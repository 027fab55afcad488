"""How far a group has got, asked of a real broker by somebody else."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from imex.runtime import Consumer, Message, Policy, Producer
from imex.runtime.progress import Progress, Source
from imex.settings import KafkaSettings
from imex.testing.runtime import running, sample_event, until


async def test_a_group_that_stands_still_holds_the_answer_back(
    kafka_settings: KafkaSettings, topic: str
) -> None:
    free = asyncio.Event()

    async def handler(_messages: Sequence[Message]) -> None:
        await free.wait()

    progress = Progress(kafka_settings, "test", {"it": Source(topic, "imex-sample-progress")})
    policy = Policy(commit_every_s=0.05)
    consumer = Consumer(kafka_settings, "imex-sample-progress", [topic], policy=policy, stateless=handler)
    producer = Producer(kafka_settings)

    async def answer() -> datetime | None:
        found = progress.through("it")
        await progress.turn()
        return found

    async with running(producer):
        for number in range(5):
            await producer.send(sample_event(f"s{number}", number), topic)
        produced = datetime.now(UTC)
        assert [await answer() for _ in range(3)] == [None] * 3
        async with running(consumer):
            await until(lambda: consumer.partitions() != set())
            assert await answer() is None
            free.set()

            async def caught_up() -> bool:
                found = await answer()
                return found is not None and found >= produced

            await until(caught_up)


async def test_of_a_topic_without_records_nothing_is_left(kafka_settings: KafkaSettings, topic: str) -> None:
    progress = Progress(kafka_settings, "test", {"it": Source(topic, "imex-sample-nobody")})
    assert progress.through("it") is None
    await progress.turn()
    assert progress.through("it") is not None
