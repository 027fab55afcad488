"""How long payloads live: routing and validation together, what passes between them held back at will."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.schema import CreateSchema
from tests.integration.routing_world import AGREED, HOSPITALS, TO_B, World, routing_world

from imex.db import Database
from imex.db.tables import routing as tables
from imex.db.tables import validation
from imex.events import Event, Identity, Sealed, decode
from imex.events.commands import HoldCommanded, HoldCommandedData
from imex.events.manifests import ManifestIssued
from imex.events.retention import RetentionEnded
from imex.observability.traces import Traces
from imex.routing.retiring import Retiring
from imex.runtime import Transient
from imex.settings import TracesSettings
from imex.storage import StoreError, StoreRefused, StoreUnavailable
from imex.testing.instances import SEALER, ended, messages, received
from imex.testing.runtime import until
from imex.testing.storage import MemoryStore
from imex.validation.disposal import BATCH, Disposer, RetentionHandler
from imex.validation.handler import InstancesHandler
from imex.validation.orphans import Orphans

DAYS = timedelta(days=30)
STUDY = "1.2.3"


class Both:
    """Validation and routing over one database, with a store, and what is on its way between them."""

    def __init__(self, routing: World, database: Database) -> None:
        self.routing = routing
        self.database = database
        self.store = MemoryStore()
        self.retiring = Retiring(routing.database, routing.around, DAYS)
        self.disposer = Disposer(database, self.store, lambda _: None)
        self.to_routing: deque[Event[Any]] = deque()
        self.to_validation: deque[Event[Any]] = deque()
        self.sent: list[tuple[str, str]] = []
        traces = Traces("validation", TracesSettings(exporter="none"))
        self.instances = InstancesHandler(_opened, traces, lambda *_: None)
        self._told = 0

    async def send(self, *numbers: int, version: int = 0) -> None:
        """One association with some instances of the study."""
        association = uuid4()
        events: list[Event[Any]] = []
        for number in numbers:
            self.routing.clock.pass_(0.001)
            digest = f"sha256:{number + 1000 * version:064x}"
            event = received(
                STUDY, number, association=association, digest=digest,
                received_at=self.routing.clock.now, directory_version=self.routing.directories.index.version,
            )  # fmt: skip
            await self.store.put(event.data.object_key, b"bytes")
            self.sent.append((event.data.sop_instance_uid, digest))
            events.append(event)
        events.append(ended(STUDY, association, len(numbers)))
        await self._validate(self.instances, events, "instances.bulk")

    async def _validate(self, handler: Any, events: Sequence[Event[Any]], topic: str) -> None:
        async with self.database.unit() as unit:
            await handler(messages(list(events), topic), unit)
        outbox = validation.common.outbox
        async with self.database.engine.begin() as connection:
            rows = await connection.execute(select(outbox.c.value).order_by(outbox.c.seq))
            said = [decode(bytes(value)) for value in rows.scalars()]
            await connection.execute(outbox.delete())
        self.to_routing += [event for event in said if event.type != "imex.audit.recorded"]

    async def routing_reads(self, count: int = 1_000) -> None:
        """Routing gets to some of what validation said."""
        for _ in range(min(count, len(self.to_routing))):
            await self.routing.validated(self.to_routing.popleft())
        self._collect()

    async def validation_reads(self) -> None:
        """Validation gets to what routing said."""
        while self.to_validation:
            await self._validate(RetentionHandler(), [self.to_validation.popleft()], "retention")

    async def retire(self) -> None:
        """Routing looks for what nobody needs any more."""
        await self.retiring.turn()
        await self.routing._collect()
        self._collect()

    def _collect(self) -> None:
        for event in self.routing.published[self._told :]:
            if isinstance(event, RetentionEnded):
                self.to_validation.append(event)
        self._told = len(self.routing.published)

    async def confirm(self) -> None:
        """Delivery has everything confirmed that was handed to it and is still wanted, if it is there."""
        for share in await self.routing.shares():
            waiting = {
                row.sop_instance_uid: row.digest
                for row in await self.routing.rows(tables.share_instances)
                if row.share == share.id and row.state == "waiting"
            }
            for issued in self.routing.said(ManifestIssued):
                of_share = [
                    one for one in issued.data.instances
                    if issued.data.share == share.id and waiting.get(one.sop_instance_uid) == one.digest
                ]  # fmt: skip
                if of_share:
                    assert all(one.object_key in self.store.objects for one in of_share), "lost"
                    await self.routing.delivered(self.routing.progressed(issued.data, of_share, {}))
            parts = [part for part in self.routing.parts() if part.share == share.id]
            if parts:
                await self.routing.delivered(self.routing.completed(parts[-1], share.handed))
        self._collect()

    async def settle(self) -> None:
        """Everything that is on its way arrives, and what is complete is delivered."""
        for _ in range(3):
            await self.validation_reads()
            await self.routing_reads()
            await self.routing.quiet(200)
            self._collect()
            await self.confirm()

    async def dispose(self) -> None:
        """Validation deletes what was given up."""
        while await self.disposer.turn():
            pass

    async def hold(self, command: Any, institution: str | None = None) -> None:
        data = HoldCommandedData(
            source="RQM",
            study_uid=STUDY,
            command=command,
            reason="inquest",
            actor="admin",
            actor_institution=institution,
        )
        event = HoldCommanded.of(id=uuid4(), subject=STUDY, time=self.routing.clock.now, data=data)
        await self.routing.commanded(event)

    async def retained(self) -> None:
        """The whole of it: it is looked, told, given up, noted and deleted."""
        await self.retire()
        await self.validation_reads()
        await self.routing_reads()
        await self.dispose()


def _opened(sealed: Sealed, object_key: str) -> Identity:
    return SEALER.open_as(Identity, sealed, object_key.encode())


@asynccontextmanager
async def both(url: str, directory: str = HOSPITALS + AGREED + TO_B) -> AsyncIterator[Both]:
    async with routing_world(url, directory) as routing:
        database = Database(url, "validation")
        async with database.engine.begin() as connection:
            await connection.execute(CreateSchema("validation"))
            await connection.run_sync(validation.metadata.create_all)
        yield Both(routing, database)
        await database.close()


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[Both]:
    async with both(empty_database_url) as made:
        yield made


def pass_days(world: Both, days: float) -> None:
    world.routing.clock.pass_(days * 86_400)


async def delivered(world: Both, *numbers: int) -> UUID:
    await world.send(*numbers)
    await world.settle()
    share = (await world.routing.shares())[-1]
    assert share.state == "delivered"
    identifier: UUID = share.id
    return identifier


async def test_payloads_stay_for_the_time_and_go_after_it(world: Both) -> None:
    share = await delivered(world, 1, 2)
    await world.send(1)  # once more: an object of its own
    await world.settle()
    pass_days(world, 29)
    await world.retained()
    assert len(world.store.objects) == 3
    pass_days(world, 2)
    await world.retained()
    assert not world.store.objects
    assert (await world.routing.steps(share))[-1] == "images_deleted"
    kept = await world.routing.share()
    assert (kept.state, kept.at_disposal["received"]) == ("delivered", 2)
    assert await world.routing.rows(tables.instances) == []


async def test_what_is_sent_again_after_that_is_new_and_travels(world: Both) -> None:
    await delivered(world, 1, 2)
    pass_days(world, 31)
    await world.retained()
    await delivered(world, 1, 2)
    assert [(s.episode, s.state, s.confirmed) for s in await world.routing.shares()] == [
        (1, "delivered", 2),
        (2, "delivered", 2),
    ]
    assert len(world.store.objects) == 2


async def test_nothing_goes_while_something_newer_is_on_its_way(world: Both) -> None:
    await delivered(world, 1)
    pass_days(world, 31)
    await world.retire()
    await world.send(1, 2)  # validation has judged it before it reads what routing said
    await world.settle()
    await world.dispose()
    assert len(world.store.objects) == 3
    assert (await world.routing.share()).confirmed == 2


async def test_what_comes_in_just_after_it_was_given_up_is_accepted_as_new(world: Both) -> None:
    await delivered(world, 1)
    pass_days(world, 31)
    await world.retire()
    await world.validation_reads()
    await world.send(1)  # before routing hears that the payloads are gone
    await world.dispose()
    await world.settle()
    assert [s.state for s in await world.routing.shares()] == ["delivered", "delivered"]
    assert len(world.store.objects) == 1


class Refusing(MemoryStore):
    """Refuses to delete some objects, or never comes to an end with them."""

    def __init__(self, error: StoreError) -> None:
        super().__init__()
        self.error = error
        self.refused: set[str] = set()
        self.asked = 0

    async def delete(self, key: str) -> None:
        if key in self.refused:
            self.asked += 1
            raise self.error
        await super().delete(key)


@pytest.mark.parametrize("error", [StoreRefused("locked"), StoreUnavailable("500 on this one")])
async def test_what_the_store_does_not_delete_keeps_nothing_else_waiting(
    world: Both, error: StoreError
) -> None:
    store, at = Refusing(error), world.routing.clock.now
    keys = [f"RQM/2026-03-02/{uuid4()}" for _ in range(BATCH + 30)]
    store.refused = set(keys[:BATCH])
    async with world.database.unit() as unit:
        rows = [{"object_key": key, "at": at + timedelta(seconds=n)} for n, key in enumerate(keys)]
        await unit.connection.execute(insert(validation.disposals).values(rows))
    for key in keys:
        await store.put(key, b"bytes")
    disposer = Disposer(world.database, store, lambda _: None)
    with contextlib.suppress(StoreUnavailable):
        await disposer.turn()
    await disposer.turn()
    assert set(store.objects) == store.refused
    assert store.asked == len(store.refused), "once, and not again at once"
    async with world.database.unit() as unit:
        await unit.connection.execute(update(validation.disposals).values(at=func.now()))
    store.refused = set()
    await disposer.turn()
    assert not store.objects


async def test_no_share_is_made_of_what_is_gone(world: Both) -> None:
    await delivered(world, 1)
    pass_days(world, 31)
    await world.retire()
    for _ in range(2):
        await world.routing.commanded(world.routing.command("create", recipient="RW6"))
        result = (await world.routing.rows(tables.command_results, tables.command_results.c.at))[-1]
        assert (result.outcome, "send the study again" in result.message) == ("rejected", True)
        await world.validation_reads()
        await world.routing_reads()


async def test_a_retry_of_what_had_failed_keeps_the_payloads_until_it_has_ended(world: Both) -> None:
    await world.send(1, 2)
    await world.routing_reads()
    await world.routing.quiet(200)
    [part] = world.routing.parts()
    one, two = part.instances
    refused = {two.sop_instance_uid: "A900 data set does not match SOP class"}
    await world.routing.delivered(
        world.routing.progressed(part, [one, two], refused), world.routing.completed(part, 1, 1)
    )
    pass_days(world, 29)
    await world.routing.delivered(world.routing.steered(part, "retry"))
    assert (await world.routing.share()).state == "delivering"
    pass_days(world, 5)
    await world.retained()
    assert len(world.store.objects) == 2
    await world.routing.delivered(
        world.routing.progressed(part, [two], refused), world.routing.completed(part, 1, 1)
    )
    assert (await world.routing.share()).state == "partial"
    pass_days(world, 31)
    await world.retained()
    assert not world.store.objects


async def test_a_retry_of_what_lacks_only_what_is_held_changes_nothing(world: Both) -> None:
    await delivered(world, 1)
    [part] = world.routing.parts()
    await world.routing.delivered(world.routing.steered(part, "retry"))
    assert (await world.routing.share()).state == "delivered"


async def test_a_hold_keeps_payloads_until_it_is_lifted(world: Both) -> None:
    share = await delivered(world, 1)
    await world.hold("place")
    pass_days(world, 400)
    await world.retained()
    assert world.store.objects
    await world.hold("lift")
    await world.retained()
    assert not world.store.objects
    assert {"hold_placed", "hold_lifted"} <= set(await world.routing.steps(share))


async def test_what_the_administration_holds_the_source_cannot_lift(world: Both) -> None:
    await delivered(world, 1)
    await world.hold("place")
    await world.hold("lift", "RQM")
    await world.hold("place", "RQM")  # nor make it its own
    pass_days(world, 400)
    await world.retained()
    assert world.store.objects
    await world.hold("lift")
    await world.hold("place", "RQM")
    await world.hold("lift", "RQM")
    await world.retained()
    assert not world.store.objects


@pytest.mark.parametrize(
    ("more", "days", "gone"),
    [
        ("", 29, False),
        ("", 31, True),
        (", retain_days: 3", 2, False),
        (", retain_days: 3", 4, True),
        (", retain_days: 0", 0, True),
        (", retain_days: hold", 4000, False),
    ],
)
async def test_an_agreement_says_how_long(empty_database_url: str, more: str, days: int, gone: bool) -> None:
    directory = HOSPITALS + AGREED.replace('"}', f'"{more}}}', 1) + TO_B
    async with both(empty_database_url, directory) as world:
        await delivered(world, 1)
        pass_days(world, days)
        await world.retained()
        assert (not world.store.objects) is gone


async def test_evidence_is_held_without_anybody_asking(empty_database_url: str) -> None:
    directory = HOSPITALS + AGREED.replace("direct-care", "forensic", 1)
    directory += TO_B.replace("to: [RT3]", "to: [RT3], purpose: forensic")
    async with both(empty_database_url, directory) as world:
        await delivered(world, 1)
        world.routing.directories.apply(HOSPITALS)  # the agreement goes, the hold does not
        pass_days(world, 4000)
        await world.retained()
        assert world.store.objects
        await world.hold("lift")
        pass_days(world, 31)
        await world.retained()
        assert not world.store.objects


async def test_what_nothing_addresses_goes_when_it_has_expired(empty_database_url: str) -> None:
    async with both(empty_database_url, HOSPITALS + AGREED) as world:
        await world.send(1)
        await world.settle()
        pass_days(world, 13)
        await world.routing.sweeper.expire()
        await world.retained()
        assert world.store.objects
        pass_days(world, 2)
        await world.routing.sweeper.expire()
        await world.retained()
        assert not world.store.objects


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_that_is_still_needed_disappears(world: Both, seed: int) -> None:
    """Any order of what may happen: whatever was sent last under a UID arrives with the bytes it has."""
    draw = random.Random(seed)
    await world.send(1, 2)
    for _ in range(6):
        await world.settle()
        pass_days(world, draw.choice([10, 31, 31]))
        if draw.random() < 0.5:
            await world.retire()
            await world.validation_reads()
        for _ in range(draw.randint(4, 12)):
            match draw.randrange(8):
                case 0:
                    await world.send(*draw.sample(range(1, 4), draw.randint(1, 3)))
                case 1:
                    await world.routing_reads(draw.randint(1, 4))
                case 2 | 3:
                    await world.validation_reads()
                case 4 | 5:
                    await world.retire()
                case 6:
                    await world.dispose()
                case _:
                    await world.hold("lift" if draw.random() < 0.7 else "place")
    await world.settle()
    await world.settle()
    confirmed = {
        (row.sop_instance_uid, row.digest)
        for row in await world.routing.rows(tables.share_instances)
        if row.state == "confirmed"
    }
    assert set(world.sent) <= confirmed
    assert await world.routing.rows(tables.disposed), "no payload ever went: the walk shows nothing"
    assert {share.state for share in await world.routing.shares()} <= {"delivered"}


async def test_a_repeat_that_is_being_judged_keeps_the_payloads(world: Both) -> None:
    await delivered(world, 1)
    pass_days(world, 31)
    await world.retire()
    world.routing.clock.pass_(1)
    repeat = received(STUDY, 1, received_at=world.routing.clock.now)
    async with world.database.unit() as unit:
        await world.instances(messages([repeat], "instances.bulk"), unit)
        giving_up = asyncio.create_task(world.validation_reads())
        await until(lambda: waits_for_a_lock(world.database))
    await giving_up
    assert [event.type for event in world.to_routing] == ["imex.instance.duplicated", "imex.study.kept"]


async def test_a_repeat_of_what_is_being_given_up_is_judged_again(world: Both) -> None:
    await delivered(world, 1)
    pass_days(world, 31)
    await world.retire()
    world.routing.clock.pass_(1)
    repeat = received(STUDY, 1, received_at=world.routing.clock.now)

    async def judge() -> None:
        async with world.database.unit() as unit:
            await world.instances(messages([repeat], "instances.bulk"), unit)

    async with world.database.unit() as unit:
        await RetentionHandler()(messages([world.to_validation.popleft()], "retention"), unit)
        judging = asyncio.create_task(judge())
        await until(lambda: waits_for_a_lock(world.database))
    with pytest.raises(Transient):
        await judging
    await judge()
    async with world.database.engine.connect() as connection:
        words = (await connection.execute(select(validation.judgements.c.judgement))).scalars()
        assert sorted(words) == ["accepted", "accepted"]


async def waits_for_a_lock(database: Database) -> bool:
    async with database.engine.connect() as connection:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return bool(await connection.scalar(text(waiting)))


async def test_orphans_go_once_no_event_of_theirs_can_come(world: Both) -> None:
    await delivered(world, 1)
    kept = set(world.store.objects)
    orphan, young, foreign = f"RQM/2026-03-02/{uuid4()}", f"RQM/2026-03-20/{uuid4()}", "RQM/2026-03-02/notes"
    clock = world.routing.clock
    for key in (orphan, young, foreign, "_inbox/x/y"):
        await world.store.put(key, b"bytes")
    for key, (content, metadata, _) in world.store.objects.items():
        at = clock.now + timedelta(days=18 if key == young else 0)
        world.store.objects[key] = (content, metadata, at)
    found: list[int] = []
    orphans = Orphans(
        world.database, world.store, lambda: ["RQM"], clock, after=timedelta(days=16), found=found.append
    )
    pass_days(world, 15)
    while await orphans.turn():
        pass
    assert sum(found) == 0
    pass_days(world, 5)
    while await orphans.turn():
        pass
    await world.dispose()
    assert set(world.store.objects) == kept | {young, foreign, "_inbox/x/y"}
    assert sum(found) == 1
