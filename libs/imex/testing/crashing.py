"""A consumer in a process of its own, made to be killed: `python -m imex.testing.crashing`.

Settings come from the environment as for a service, and from `CRASH_TOPIC` and `CRASH_GROUP`. For each
record it writes a row into the table `sample.effects` and publishes the event onward to `CRASH_ONWARD`. It
never commits an offset, and stays in the handler for ever at the record whose number is `CRASH_AT`.
"""

import asyncio
import os
from collections.abc import Sequence

from sqlalchemy import text

from imex.db import Database, UnitOfWork
from imex.runtime import Consumer, Message, Policy
from imex.settings import DatabaseSettings, KafkaSettings
from imex.testing.postgres import SCHEMA


async def record_effects(messages: Sequence[Message], unit: UnitOfWork, onward: str) -> None:
    """The effect that must happen once: a row, and an event."""
    for message in messages:
        await unit.connection.execute(
            text(f"INSERT INTO {SCHEMA}.effects (event_id, number) VALUES (:id, :number)"),  # noqa: S608
            {"id": message.event.id, "number": message.event.data.received},
        )
        unit.publish(message.event, topic=onward)


async def main() -> None:
    """Consume until killed."""
    stuck_at = int(os.environ["CRASH_AT"])

    async def handler(messages: Sequence[Message], unit: UnitOfWork) -> None:
        await record_effects(messages, unit, os.environ["CRASH_ONWARD"])
        if any(message.event.data.received == stuck_at for message in messages):
            await unit.flush()
            await asyncio.sleep(3600)

    database = Database(DatabaseSettings().url, SCHEMA)
    consumer = Consumer(
        KafkaSettings(),
        os.environ["CRASH_GROUP"],
        [os.environ["CRASH_TOPIC"]],
        handler,
        database,
        Policy(batch_records=4, commit_every_s=3600),
        instance_id="crashing",
    )
    await consumer.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
