"""Each failure that an inbox can show: those of the object store and of the database, and what it takes.

As with other endpoints (test_failures_by_target): while it goes on failing a delivery ends, or is tried
again, as its case says. Then it behaves well, a person asks for what had failed again, and everything lies
there once, with the bytes that the receipt names.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Row, select
from sqlalchemy.exc import OperationalError
from tests.integration.delivery_world import Passage, World, delivery_world, until

from imex.db.tables.delivery import inbox_instances
from imex.delivery import decide
from imex.delivery.repository import Repository
from imex.dicom import dataset_digest
from imex.storage import Stored, StoreError, StoreFull, StoreRefused, StoreUnavailable
from imex.storage.keys import INBOX_PREFIX
from imex.storage.port import Buffer
from imex.testing.dicom import SyntheticStudy, synthetic_study
from imex.testing.parts import PostgresPart
from imex.testing.postgres import new_database
from imex.testing.storage import MemoryStore

IMAGES = 3
TRYING = "trying"
STEPS_S = (0.1, 0.2, 0.3)
CT = "1.2.840.10008.5.1.4.1.1.2"


@dataclass(frozen=True)
class Case:
    """A failure, and what is to come of it."""

    failure: str
    ends: str
    words: str
    changed: bool
    """Whether what leaves is changed, and so written for the inbox."""
    lying: int = 0
    """Images that lie there while it goes on failing."""

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.failure}-{'changed' if self.changed else 'as-it-is'}"


CASES = (
    Case("store-down", TRYING, "the object store is not available", changed=True),
    Case("store-down", TRYING, "the object store is not available", changed=False),
    Case("store-full", TRYING, "the object store is full", changed=True),
    Case("store-full", "delivered", "", changed=False, lying=IMAGES),
    Case("store-refuses", TRYING, "the object store refuses what is to be written", changed=True),
    Case("answer-lost", TRYING, "the object store is not available", changed=True),
    Case("payload-gone", "partial", "not in the store", changed=True, lying=IMAGES - 1),
    Case("payload-gone", "partial", "not in the store", changed=False, lying=IMAGES - 1),
    Case("payload-damaged", "partial", "does not match", changed=True, lying=IMAGES - 1),
    Case("payload-damaged", "partial", "does not match", changed=False, lying=IMAGES - 1),
    Case("database-down", "delivered", "", changed=True, lying=IMAGES),
    Case("database-down", "delivered", "", changed=False, lying=IMAGES),
    Case("refuses-class", "failed", "directory entry does not accept CT Image Storage", changed=False),
    Case("refuses-syntax", "failed", "directory entry does not accept CT Image Storage", changed=False),
)


class Faulty(MemoryStore):
    """Its writes fail as they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.on_put: StoreError | None = None
        self.stores_first = False

    async def put(
        self, key: str, data: Buffer, metadata: Mapping[str, str] | None = None, sha256: str | None = None
    ) -> Stored:
        """Fail, before or after the object is there."""
        if self.on_put is not None and not self.stores_first:
            raise self.on_put
        stored = await super().put(key, data, metadata, sha256)
        if self.on_put is not None:
            raise self.on_put
        return stored


@dataclass
class Seen:
    """What came of a case."""

    row: Row[Any]
    told: str
    lying: int
    receipts: int
    after: Row[Any]
    finally_lying: dict[str, Row[Any]]
    contents: dict[str, str]
    """Digests of what is read there."""
    study: SyntheticStudy = field(default_factory=lambda: synthetic_study(1))


def failing(world: World, store: Faulty, case: Case, recipient: str) -> None:
    """Make it fail."""
    accepts: dict[str, Any] = {}
    match case.failure:
        case "store-down":
            store.failure = StoreUnavailable("away")
        case "store-full":
            store.on_put = StoreFull("no room")
        case "store-refuses":
            store.on_put = StoreRefused("403 AccessDenied")
        case "answer-lost":
            store.on_put, store.stores_first = StoreUnavailable("no answer"), True
        case "refuses-class":
            accepts = {"accepts": {"sop_classes": ["1.2.840.10008.5.1.4.1.1.4"]}}
        case "refuses-syntax":
            accepts = {"accepts": {"transfer_syntaxes": ["1.2.840.10008.1.2.4.90"]}}
    world.endpoint(recipient, 0, type="inbox", **accepts)


async def lying(world: World, passage: Passage) -> dict[str, Row[Any]]:
    async with world.database.look() as connection:
        i = inbox_instances
        rows = await connection.execute(select(i).where(i.c.share == passage.share))
        return {row.sop_instance_uid: row for row in rows}


async def run(world: World, store: Faulty, case: Case, recipient: str, away: list[bool]) -> Seen:
    world.endpoint(recipient, 0, type="inbox")
    study = synthetic_study(IMAGES, size=32)
    passage = Passage(recipient, agreement="a1" if case.changed else "a2")
    events = await world.listed(passage, study.instances)
    first = events[0].data.instances[0].object_key
    kept = store.objects[first]
    if case.failure == "payload-gone":
        del store.objects[first]
    elif case.failure == "payload-damaged":
        store.objects[first] = (kept[0][:-1] + b"!", *kept[1:])
    away[0] = case.failure == "database-down"
    failing(world, store, case, recipient)
    await world.hand_in(*events)
    world.bell.ring()
    if away[0]:
        await asyncio.sleep(0.3)  # for that long nothing can be recorded of what is copied
        assert not await lying(world, passage)
        away[0] = False
    row = await until(
        lambda: world.row(passage),
        lambda row: row.outcome is not None or (case.ends == TRYING and row.failures >= 2),
    )
    there, instances = await lying(world, passage), await world.instances(passage)
    receipts = len(await world.receipts(passage))
    store.objects[first] = kept
    store.failure = store.on_put = None
    store.stores_first = False
    world.endpoint(recipient, 0, type="inbox")
    if row.outcome not in {None, "delivered"}:
        await world.hand_in(world.command(passage, "retry"))
    after = await world.until_outcome(passage, "delivered")
    finally_lying = await lying(world, passage)
    contents = {uid: dataset_digest(await store.get(one.object_key)) for uid, one in finally_lying.items()}
    told = " | ".join([row.reason, *(one.reason for one in instances.values())])
    return Seen(row, told, len(there), receipts, after, finally_lying, contents, study)


@contextlib.asynccontextmanager
async def world_of(url: str) -> AsyncIterator[tuple[World, Faulty]]:
    store = Faulty()
    async with delivery_world(url, store) as world:
        about = {"from": "RQM", "to": [f"R{number:03}" for number in range(len(CASES))]}
        world.agreements(
            {**about, "id": "a1", "purposes": ["research"], "deidentify": {"project": "p1"}},
            {**about, "id": "a2", "purposes": ["direct-care"]},
        )
        async with world.working():
            yield world, store


@pytest.fixture(scope="module")
def outcomes(postgres: PostgresPart) -> Iterator[dict[str, Seen]]:
    """Every case, one after the other: they share a store."""
    patch, away = pytest.MonkeyPatch(), [False]
    patch.setattr(decide, "FIRST_HOUR_STEPS_S", STEPS_S)
    record = Repository.record

    async def recorded(*args: Any) -> Any:
        if away[0]:
            raise OperationalError("", {}, Exception("away"))
        return await record(*args)

    patch.setattr(Repository, "record", recorded)

    async def everything() -> dict[str, Seen]:
        async with world_of(new_database(postgres)) as (world, store):
            for number in range(len(CASES)):
                world.endpoint(f"R{number:03}", 0, type="inbox")
            return {
                case.name: await run(world, store, case, f"R{number:03}", away)
                for number, case in enumerate(CASES)
            }

    try:
        yield asyncio.run(everything())
    finally:
        patch.undo()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_failing_inbox(case: Case, outcomes: dict[str, Seen]) -> None:
    seen = outcomes[case.name]
    assert (seen.row.outcome or TRYING, case.words in seen.told) == (case.ends, True), seen.told
    assert seen.lying == case.lying
    assert seen.receipts == (0 if case.ends == TRYING else 1)
    assert seen.after.outcome == "delivered"
    assert set(seen.finally_lying) == set(seen.study.digests)
    assert seen.contents == {uid: one.given_digest for uid, one in seen.finally_lying.items()}
    assert all(one.object_key.startswith(INBOX_PREFIX) is case.changed for one in seen.finally_lying.values())
    if not case.changed:
        assert seen.contents == seen.study.digests
