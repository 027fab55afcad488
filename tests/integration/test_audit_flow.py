"""The trail on a real database: appended once, in line, and broken by nobody unnoticed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import delete, select, update

from imex.audit.handler import AuditHandler, write_checkpoint
from imex.audit_trail import Break, Checkpoint, Head, Record, Verifier
from imex.db import Database
from imex.db.migrate import upgrade
from imex.db.tables.audit import chains, checkpoints, personal, records
from imex.events.audit import Actor, AuditRecorded, AuditRecordedData
from imex.observability.traces import Traces
from imex.settings import TracesSettings
from imex.testing.instances import messages


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    made = Database(migrated_database_url, "audit")
    yield made
    await made.close()


def viewed(user: str = "jane") -> AuditRecorded:
    return AuditRecorded.of(
        id=uuid4(),
        subject="1.2.3",
        data=AuditRecordedData(
            action="share_viewed",
            outcome="success",
            actor=Actor(kind="person", id="a1", institution="RT3"),
            study_uid="1.2.3",
            source="RQM",
            personal={"user": user, "address": "10.0.0.1"},
        ),
    )


def handler() -> AuditHandler:
    exporter = InMemorySpanExporter()
    return AuditHandler(Traces("audit", TracesSettings(), exporter=exporter), lambda _action: None)


async def append(database: Database, events: Sequence[AuditRecorded], partition: int = 0) -> None:
    async with database.unit() as unit:
        await handler()(messages(list(events), "audit", partition), unit)


async def checkpoint(database: Database) -> bool:
    async with database.unit() as unit:
        return await write_checkpoint(unit)


async def verify(database: Database) -> list[Break]:
    async with database.engine.connect() as connection:
        beside: dict[object, dict[str, tuple[bytes, str | None]]] = {}
        for row in await connection.execute(select(personal)):
            beside.setdefault(row.event_id, {})[row.field] = (row.salt, row.value)
        verifier = Verifier(
            [Head(row.partition, row.length, row.head) for row in await connection.execute(select(chains))],
            [
                Checkpoint(
                    row.sequence, tuple(Head.from_json(head) for head in row.heads), row.previous, row.hash
                )
                for row in await connection.execute(select(checkpoints).order_by(checkpoints.c.sequence))
            ],
        )
        ordered = select(records).order_by(records.c.partition, records.c.sequence)
        for row in await connection.execute(ordered):
            verifier.feed(
                Record(row.partition, row.sequence, row.body, row.previous, row.hash),
                beside.get(row.event_id),
            )
        return verifier.finish()


async def test_a_trail_grows_by_batches_and_is_whole(database: Database) -> None:
    await append(database, [viewed(), viewed()])
    assert await checkpoint(database)
    assert not await checkpoint(database), "nothing has grown since"
    await append(database, [viewed()])
    await append(database, [viewed()], partition=3)
    assert await checkpoint(database)
    assert await verify(database) == []


async def test_writers_at_once_stay_in_line(database: Database) -> None:
    await asyncio.gather(*(append(database, [viewed(), viewed()]) for _ in range(6)))
    async with database.engine.connect() as connection:
        sequences = list((await connection.execute(select(records.c.sequence))).scalars())
    assert sorted(sequences) == list(range(1, 13))
    assert await verify(database) == []


async def test_an_edit_a_deletion_and_a_cut_tail_are_found(database: Database) -> None:
    await append(database, [viewed() for _ in range(5)])
    await checkpoint(database)
    third = records.c.sequence == 3
    async with database.engine.begin() as connection:
        await connection.execute(update(records).where(third).values(body=records.c.body + " "))
    assert [(found.sequence, found.problem) for found in await verify(database)] == [
        (3, "its content was changed")
    ]
    async with database.engine.begin() as connection:
        await connection.execute(delete(records).where(third))
    assert "gone" in (await verify(database))[0].problem


async def test_a_tail_cut_together_with_the_chains_own_record_is_found(database: Database) -> None:
    await append(database, [viewed() for _ in range(5)])
    await checkpoint(database)
    async with database.engine.begin() as connection:
        rows = await connection.execute(select(records).where(records.c.sequence == 4))
        fourth = rows.one()
        await connection.execute(delete(records).where(records.c.sequence == 5))
        await connection.execute(update(chains).values(length=4, head=fourth.hash))
    (found,) = await verify(database)
    assert found.sequence == 5
    assert "the end is cut off" in found.problem


async def test_a_person_can_be_erased_and_the_trail_still_holds(database: Database) -> None:
    await append(database, [viewed("jane"), viewed("john")])
    await checkpoint(database)
    async with database.engine.begin() as connection:
        await connection.execute(update(personal).where(personal.c.value == "jane").values(value=None))
        bodies = "".join((await connection.execute(select(records.c.body))).scalars())
    assert await verify(database) == []
    assert "jane" not in bodies
    assert "10.0.0.1" not in bodies


async def test_the_services_own_role_can_neither_edit_nor_delete(empty_database_url: str) -> None:
    upgrade(empty_database_url, {"audit": "secret"})
    server = empty_database_url.rsplit("@", 1)[1]
    own = Database(f"postgresql://imex_audit:secret@{server}")
    try:
        await append(own, [viewed()])
        for statement in (delete(records), update(records).values(body="")):
            with pytest.raises(Exception, match="permission denied"):
                async with own.engine.begin() as connection:
                    await connection.execute(statement)
    finally:
        await own.close()
