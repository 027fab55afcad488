"""What waits in quarantine and nobody decides about, on a real database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from imex.db import Database
from imex.db.tables.validation import common, quarantine
from imex.events import Event, Identity, Sealed, decode
from imex.events.audit import AuditRecorded
from imex.events.validations import InstanceDiscarded
from imex.observability.traces import Traces
from imex.settings import TracesSettings
from imex.testing.instances import JANE, SEALER, messages, received
from imex.validation.handler import InstancesHandler
from imex.validation.undecided import BATCH, Undecided

WRONG_NUMBER = JANE.model_copy(update={"patient_id": "9990000019"})


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    made = Database(migrated_database_url, "validation")
    yield made
    await made.close()


async def judged(database: Database, *events: Event[Any]) -> None:
    def open_identity(sealed: Sealed, object_key: str) -> Identity:
        return SEALER.open_as(Identity, sealed, object_key.encode())

    traces = Traces("validation", TracesSettings(exporter="none"))
    handler = InstancesHandler(open_identity, traces, lambda _outcome, _checks: None)
    async with database.unit() as unit:
        await handler(messages(list(events), "instances.bulk"), unit)
    await published(database)


async def published(database: Database) -> list[Event[Any]]:
    async with database.engine.begin() as connection:
        rows = await connection.execute(select(common.outbox.c.value).order_by(common.outbox.c.seq))
        found = [decode(value) for value in rows.scalars()]
        await connection.execute(common.outbox.delete())
    return found


async def states(database: Database) -> list[str]:
    async with database.engine.connect() as connection:
        rows = await connection.execute(select(quarantine.c.state).order_by(quarantine.c.state))
        return list(rows.scalars())


def undecided(database: Database, days_later: float) -> Undecided:
    return Undecided(database, lambda: datetime.now(UTC) + timedelta(days=days_later), days=90)


async def test_it_waits_ninety_days_and_is_then_discarded_once_audited_as_the_services_doing(
    database: Database,
) -> None:
    await judged(database, received(number=1), received(number=2, identity=WRONG_NUMBER))
    await undecided(database, 89).turn()
    assert (await states(database), await published(database)) == (["waiting"], [])

    assert await undecided(database, 91).turn() is False
    discarded, audited = await published(database)
    assert isinstance(discarded, InstanceDiscarded)
    assert discarded.data.sop_instance_uid == "1.2.3.1.2"
    assert discarded.data.reason == "nobody decided about it within 90 days"
    assert isinstance(audited, AuditRecorded)
    assert (audited.data.action, audited.data.actor.kind) == ("instance_discarded", "service")

    await undecided(database, 92).turn()
    assert (await states(database), await published(database)) == (["discarded"], [])


async def test_of_two_copies_in_dispute_only_a_person_says_which_one_stands(database: Database) -> None:
    await judged(database, received(number=1))
    await judged(database, received(number=1, digest=f"sha256:{7:064x}"))
    await undecided(database, 1000).turn()
    assert await states(database) == ["waiting"]


async def test_many_go_a_batch_at_a_time(database: Database) -> None:
    await judged(database, *(received(number=one, identity=WRONG_NUMBER) for one in range(1, BATCH + 2)))
    assert await undecided(database, 91).turn() is True
    assert await undecided(database, 91).turn() is False
    assert await states(database) == ["discarded"] * (BATCH + 1)
