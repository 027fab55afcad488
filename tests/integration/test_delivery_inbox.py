"""Deliveries to an inbox: where the bytes lie afterwards, and what the receipt says of them."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Row, insert, select
from tests.integration.delivery_world import Passage, World, delivery_world, until

from imex.db.tables import delivery as tables
from imex.delivery.clearing import Clearing
from imex.delivery.decide import Answer, Placed, Verdict
from imex.delivery.inbox_orphans import ROW_WITHIN, InboxOrphans
from imex.delivery.jobs import Due, Outcome
from imex.delivery.leases import Leases
from imex.delivery.payloads import ReadAhead
from imex.delivery.repository import Repository
from imex.delivery.targets.inbox import new_key
from imex.dicom import dataset_digest, dataset_offset
from imex.events.audit import AuditRecorded
from imex.storage import StoreRefused, StoreUnavailable
from imex.storage.keys import INBOX_PREFIX
from imex.testing.dicom import SyntheticStudy, synthetic_study
from imex.testing.storage import MemoryStore

NAME = "OKONKWO^CHIDI"


@pytest.fixture
async def world(empty_database_url: str) -> AsyncIterator[World]:
    async with delivery_world(empty_database_url) as made:
        yield made


def inbox(world: World, recipient: str = "RT3", **facts: Any) -> None:
    world.endpoint(recipient, 0, type="inbox", **facts)


def study(slices: int = 3) -> SyntheticStudy:
    return synthetic_study(slices, size=32, patient_name=NAME)


async def lying(world: World, passage: Passage) -> dict[str, Row[Any]]:
    """What lies in the inbox, by the UID under which it was received."""
    async with world.database.unit() as unit:
        rows = await unit.connection.execute(
            select(tables.inbox_instances).where(tables.inbox_instances.c.share == passage.share)
        )
        return {row.sop_instance_uid: row for row in rows}


async def test_what_is_not_changed_stays_where_it_is(world: World) -> None:
    inbox(world)
    sent, passage = study(20), Passage("RT3")
    async with world.working():
        await world.issue(passage, sent.instances)
        row = await world.until_outcome(passage, "delivered")
    found = await lying(world, passage)
    assert {uid: one.digest for uid, one in found.items()} == sent.digests
    assert {uid: one.given_digest for uid, one in found.items()} == sent.digests
    assert not any(one.own for one in found.values())
    keys = {uid: one.object_key for uid, one in (await world.instances(passage)).items()}
    assert {uid: one.object_key for uid, one in found.items()} == keys
    assert row.attempts == 1
    async with world.database.unit() as unit:
        [share] = await unit.connection.execute(select(tables.inbox_shares))
    assert (share.share, share.recipient, share.endpoint) == (passage.share, "RT3", "pacs")
    [receipt] = await world.receipts(passage)
    assert receipt.document["complete"] is True
    assert receipt.document["destination"]["ae_title"] == "inbox"
    assert all("delivered_digest" not in line for line in receipt.document["instances"])
    [audited] = await world.events(AuditRecorded)
    assert (audited.data.action, audited.data.counts["confirmed"]) == ("instances_sent", 20)


@pytest.mark.parametrize("whole_bytes", [4 << 20, 100])
async def test_a_reader_of_a_deidentified_share_never_gets_the_original(
    world: World, whole_bytes: int
) -> None:
    inbox(world)
    world.agreements(
        {"id": "a1", "from": "RQM", "to": "RT3", "purposes": ["research"], "deidentify": {"project": "p1"}}
    )
    sent, passage = study(), Passage("RT3", agreement="a1")
    async with world.working(read_ahead=ReadAhead(whole_bytes=whole_bytes)):
        await world.issue(passage, sent.instances)
        await world.until_outcome(passage, "delivered")
    found = await lying(world, passage)
    assert len(found) == 3
    for uid, one in found.items():
        assert one.own
        assert one.object_key.startswith(INBOX_PREFIX)
        assert one.given_sop_instance_uid != uid
        content = await world.store.get(one.object_key)
        assert dataset_digest(content) == one.given_digest != one.digest
        assert len(content) - dataset_offset(content) == one.size
        assert NAME.encode() not in content
        assert uid.encode() not in content
        assert one.given_sop_instance_uid.encode() in content
    [receipt] = await world.receipts(passage)
    told = {line["sop_instance_uid"]: line for line in receipt.document["instances"]}
    assert {uid: line["delivered_digest"] for uid, line in told.items()} == {
        uid: one.given_digest for uid, one in found.items()
    }
    assert {uid: line["digest"] for uid, line in told.items()} == sent.digests


async def test_what_was_changed_for_an_inbox_goes_when_it_is_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox(world)
    world.agreements(
        {"id": "a1", "from": "RQM", "to": "RT3", "purposes": ["research"], "deidentify": {"project": "p1"}}
    )
    sent, passage = study(), Passage("RT3", agreement="a1")
    kept, other = study(), Passage("RT3", agreement="a1")
    assert isinstance(world.store, MemoryStore)
    objects = world.store.objects
    clearing = Clearing(world.database, world.store)
    async with world.working():
        await world.issue(passage, sent.instances)
        await world.issue(other, kept.instances)
        await world.until_outcome(passage, "delivered")
        await world.until_outcome(other, "delivered")
        changed = {one.object_key for one in (await lying(world, passage)).values()}
        staying = {one.object_key for one in (await lying(world, other)).values()}
        await clearing.turn()
        assert changed | staying <= set(objects)
        await world.hand_in(world.withdrawal(passage))
        # one that the store refuses is passed over, and tried again later
        delete, refused = world.store.delete, min(changed)

        async def refusing(key: str) -> None:
            if key == refused:
                raise StoreRefused("locked")
            await delete(key)

        monkeypatch.setattr(world.store, "delete", refusing)
        monkeypatch.setattr("imex.delivery.clearing.BATCH", 1)
        while await clearing.turn():
            pass
        assert changed & set(objects) == {refused}
        monkeypatch.undo()
        await clearing.turn()
    assert not changed & set(objects)
    assert staying <= set(objects)
    assert not await lying(world, passage)


@pytest.mark.parametrize("whole_bytes", [4 << 20, 100])
async def test_what_is_not_what_was_received_is_not_delivered(world: World, whole_bytes: int) -> None:
    inbox(world)
    sent, passage = study(4), Passage("RT3")
    events = await world.listed(passage, sent.instances)
    [damaged, gone, *_] = [one.object_key for one in events[0].data.instances]
    content = bytearray(await world.store.get(damaged))
    content[-1] ^= 1
    await world.store.put(damaged, content)
    await world.store.delete(gone)
    async with world.working(read_ahead=ReadAhead(whole_bytes=whole_bytes)):
        await world.hand_in(*events)
        await world.until_outcome(passage, "partial")
    assert len(await lying(world, passage)) == 2
    states = await world.instances(passage)
    reasons = {one.object_key: one.reason for one in states.values() if one.state == "failed"}
    assert set(reasons) == {damaged, gone}
    assert "match" in reasons[damaged] and "not in the store" in reasons[gone]


async def test_a_store_that_is_away_is_waited_for(world: World) -> None:
    inbox(world)
    world.agreements(
        {"id": "a1", "from": "RQM", "to": "RT3", "purposes": ["research"], "deidentify": {"project": "p1"}}
    )
    sent, passage = study(2), Passage("RT3", agreement="a1")
    store = world.store
    assert isinstance(store, MemoryStore)
    async with world.working():
        events = await world.listed(passage, sent.instances)
        store.failure = StoreUnavailable("away")
        await world.hand_in(*events)
        row = await world.until_failing(passage)
        assert "object store" in row.reason
        store.failure = None
        await world.until_outcome(passage, "delivered")
    assert len(await lying(world, passage)) == 2


async def test_the_directory_says_what_an_inbox_takes(world: World) -> None:
    inbox(world, accepts={"sop_classes": ["1.2.840.10008.5.1.4.1.1.4"]})
    passage = Passage("RT3")
    async with world.working():
        await world.issue(passage, study(1).instances)
        await world.until_outcome(passage, "failed")
    [one] = (await world.instances(passage)).values()
    assert "CT Image Storage" in one.reason
    assert await lying(world, passage) == {}


async def test_an_emergency_lies_there_image_by_image(world: World) -> None:
    inbox(world)
    sent, passage = study(3), Passage("RT3", priority="emergency")
    async with world.working():
        await world.issue(passage, sent.instances[:1], close=False)
        await until(lambda: lying(world, passage), lambda found: len(found) == 1)
        await world.issue(passage, sent.instances[1:])
        await world.until_outcome(passage, "delivered")
    assert len(await lying(world, passage)) == 3


async def test_what_was_put_too_long_ago_is_put_once_more(world: World) -> None:
    """A process may hold what it has put for as long as the database is away."""
    inbox(world)
    sent, passage = study(1), Passage("RT3")
    await world.issue(passage, sent.instances)
    leases = Leases(world.database, "one", timedelta(seconds=12))
    [job] = await leases.claim(Due("RT3", "pacs", False), lambda _used, _priority: 1)
    [one] = await Repository(world.database).waiting(passage.id)
    for hours, state in ((25, "waiting"), (23, "confirmed")):
        placed = Placed(new_key(), "1.2.3", 10, "sha256:0", own=True)
        at = datetime.now(UTC) - timedelta(hours=hours)
        answer = Answer(Verdict.CONFIRMED, "", placed=placed)
        await Repository(world.database).record(job, [Outcome(one, answer, at)])
        [row] = (await world.instances(passage)).values()
        assert row.state == state
    assert {one.object_key for one in (await lying(world, passage)).values()} == {placed.object_key}


@pytest.mark.parametrize("seed", range(3))
async def test_only_what_no_row_tells_of_and_none_can_is_swept(world: World, seed: int) -> None:
    """Objects are put, recorded or forgotten at any time, while it is looked again and again."""
    draw, store = random.Random(seed), world.store
    assert isinstance(store, MemoryStore)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    sweeps = [InboxOrphans(world.database, store, lambda: now) for _ in range(2)]
    unrecorded: dict[str, datetime] = {}
    recorded: set[str] = set()
    forgotten: set[str] = set()
    share = uuid4()
    foreign = f"{INBOX_PREFIX}notes"
    await store.put(foreign, b"")
    for number in range(60):
        now += timedelta(hours=draw.choice([0, 1, 5, 11]))
        key = f"{INBOX_PREFIX}{now:%Y-%m-%d}/{uuid4()}"
        await store.put(key, b"")
        store.objects[key] = (*store.objects[key][:2], now)
        unrecorded[key] = now
        for one, at in list(unrecorded.items()):
            chance = draw.random()
            if chance < 0.3 and now - at <= ROW_WITHIN:
                assert one in store.objects
                async with world.database.unit() as unit:
                    await unit.connection.execute(
                        insert(tables.inbox_instances).values(
                            share=share, sop_instance_uid=f"1.{number}.{len(recorded)}", digest="",
                            given_sop_instance_uid=one, sop_class_uid="", transfer_syntax="", object_key=one,
                            own=True, size=0, given_digest="", at=now,
                        )
                    )  # fmt: skip
                recorded.add(one)
                del unrecorded[one]
            elif chance > 0.9:
                forgotten.add(one)
                del unrecorded[one]
        if draw.random() < 0.5:
            await asyncio.gather(*(one.turn() for one in sweeps))
    assert recorded <= set(store.objects)
    now += timedelta(days=4)
    while await sweeps[0].turn():
        pass
    now += timedelta(days=4)
    while await sweeps[1].turn():
        pass
    assert set(store.objects) == recorded | {foreign}
    assert forgotten
    [audited] = {event.data.action for event in await world.events(AuditRecorded)}
    assert audited == "payloads_deleted"
