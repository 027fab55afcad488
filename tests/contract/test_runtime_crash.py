"""A service killed between effect and commit: its effects happen once."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from sqlalchemy import text

from imex.db import Database, UnitOfWork
from imex.runtime import Consumer, Message, Producer, Relay
from imex.settings import KafkaSettings
from imex.testing.crashing import record_effects
from imex.testing.kafka import make_topic
from imex.testing.runtime import read_all, running, sample_event, until

GROUP = "imex-sample-crash"
STUDIES, EACH = 6, 5


async def effects(database: Database) -> list[int]:
    async with database.unit() as unit:
        found = await unit.connection.execute(text("SELECT number FROM sample.effects ORDER BY number"))
        return list(found.scalars())


async def test_effects_happen_once_though_the_process_is_killed_between_effect_and_commit(
    kafka_settings: KafkaSettings, database: Database, topic: str
) -> None:
    onward = await make_topic(kafka_settings)
    async with database.unit() as unit:
        await unit.connection.execute(text("CREATE TABLE sample.effects (event_id uuid, number int)"))
    producer = Producer(kafka_settings)
    numbers = list(range(STUDIES * EACH))
    async with running(producer):
        for number in numbers:
            await producer.send(sample_event(f"study{number % STUDIES}", number), topic)

        # the last record's effects are written and not committed when the process is killed; those of the
        # others are committed, their offsets are not
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "imex.testing.crashing",
            env={
                **os.environ,
                "IMEX_KAFKA_BOOTSTRAP": kafka_settings.bootstrap,
                "IMEX_KAFKA_USERNAME": kafka_settings.username,
                "IMEX_KAFKA_PASSWORD": kafka_settings.password.get_secret_value(),
                "IMEX_DB_URL": database.engine.url.set(drivername="postgresql").render_as_string(
                    hide_password=False
                ),
                "CRASH_TOPIC": topic,
                "CRASH_GROUP": GROUP,
                "CRASH_ONWARD": onward,
                "CRASH_AT": str(numbers[-1]),
            },
        )

        async def most_are_done() -> bool:
            return len(await effects(database)) >= len(numbers) - 2 * EACH

        await until(most_are_done, within_s=30)
        os.kill(process.pid, signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        assert numbers[-1] not in await effects(database)

        handled: list[int] = []

        async def handler(messages: Sequence[Message], unit: UnitOfWork) -> None:
            await record_effects(messages, unit, onward)
            handled.extend(message.event.data.received for message in messages)

        # the same static member, so that nobody waits for the dead one's session to end
        consumer = Consumer(kafka_settings, GROUP, [topic], handler, database, instance_id="crashing")
        relay = Relay(database, database.schema, producer)
        async with running(relay, consumer):

            async def all_done() -> bool:
                return len(await effects(database)) >= len(numbers)

            await until(all_done, within_s=30)
            records = await read_all(kafka_settings, onward, len(numbers))

    assert await effects(database) == numbers
    assert numbers[-1] in handled
    assert len(handled) <= 2 * EACH
    assert len({record.header("ce_id") for record in records}) == len(numbers)
