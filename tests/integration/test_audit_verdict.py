"""What `imex audit verify` says of a trail that somebody with all rights on the database has touched."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import delete, insert, update

from imex.audit.handler import AuditHandler, write_checkpoint
from imex.db import Database
from imex.db.tables.audit import chains, checkpoints, common, personal, records
from imex.events.audit import Actor, AuditRecorded, AuditRecordedData
from imex.observability.traces import Traces
from imex.portal.queries.audit_trail import Verdict, verify
from imex.settings import TracesSettings
from imex.testing.instances import messages


def delivered() -> AuditRecorded:
    return AuditRecorded.of(
        id=uuid4(),
        subject="1.2.3",
        data=AuditRecordedData(
            action="share_delivered",
            outcome="success",
            actor=Actor(kind="service", id="routing"),
            source="RQM",
            recipient="RT3",
            study_uid="1.2.3",
            share=uuid4(),
        ),
    )


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    """A trail of five records, taken in as the runtime does: each with its inbox row."""
    made = Database(migrated_database_url, "audit")
    events = [delivered() for _ in range(5)]
    traces = Traces("audit", TracesSettings(), exporter=InMemorySpanExporter())
    async with made.unit() as unit:
        await unit.connection.execute(insert(common.inbox), [{"event_id": event.id} for event in events])
        await AuditHandler(traces, lambda _action: None)(messages([*events], "audit", 0), unit)
    async with made.unit() as unit:
        await write_checkpoint(unit)
    yield made
    await made.close()


async def verdict(database: Database) -> Verdict:
    async with database.engine.connect() as connection:
        return await verify(connection)


async def test_an_untouched_trail_holds(database: Database) -> None:
    found = await verdict(database)
    assert (found.ok, found.records, found.breaks) == (True, 5, [])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", datetime(2020, 1, 1, tzinfo=UTC)),
        ("action", "share_viewed"),
        ("institutions", ["RT3"]),
        ("study_uid", "1.2.4"),
        ("share", None),
        ("event_id", uuid4()),
    ],
)
async def test_an_edit_beside_the_body_is_found(database: Database, column: str, value: object) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(update(records).where(records.c.sequence == 3).values({column: value}))
    found = await verdict(database)
    assert found.first_break is not None
    assert (found.first_break.record, found.first_break.problem) == (3, f"its column {column!r} was changed")


async def test_a_trail_emptied_with_all_its_witnesses_is_missed(database: Database) -> None:
    async with database.engine.begin() as connection:
        for table in (records, personal, chains, checkpoints):
            await connection.execute(delete(table))
    found = await verdict(database)
    assert found.first_break is not None
    assert "records that were taken in are gone: 5" in found.first_break.problem
