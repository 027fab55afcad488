"""Reconciliation and dead letters, on a real broker and a real PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update
from tests.integration.portal_world import NOW, World, world

from imex.db.tables import routing, validation
from imex.events import TOPICS, Sealed
from imex.events.instances import InstanceReceived, InstanceReceivedData
from imex.portal.context import Broker
from imex.runtime.deadletter import DeadLetters
from imex.runtime.message import RawRecord
from imex.runtime.producer import Producer
from imex.runtime.reader import TopicReader
from imex.runtime.topics import ensure_topics
from imex.settings import KafkaSettings

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
DIGEST = "sha256:" + "0" * 64


class OwnReader(TopicReader):
    """Sees only what this test sent since: the broker is shared by the session."""

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__(settings, "tests-reader")
        self._since = datetime.now(UTC) - timedelta(milliseconds=2)

    async def read(self, topics: Sequence[str]) -> AsyncIterator[RawRecord]:
        async for record in super().read(topics):
            if record.timestamp >= self._since:
                yield record


@pytest.fixture
async def portal(migrated_database_url: str, kafka_settings: KafkaSettings) -> AsyncIterator[World]:
    await ensure_topics(kafka_settings, TOPICS)
    producer = Producer(kafka_settings, "tests")
    await producer.start()
    async with world(migrated_database_url) as made:
        made.portal.broker = Broker(OwnReader(kafka_settings), producer)
        yield made
    await producer.stop()


def _received(study: str, number: int, source: str) -> InstanceReceived:
    event = uuid4()
    return InstanceReceived.of(
        id=event,
        subject=f"{source}/{study}",
        data=InstanceReceivedData(
            source=source,
            study_uid=study,
            series_uid=f"{study}.1",
            sop_instance_uid=f"{study}.1.{number}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            transfer_syntax="1.2.840.10008.1.2.1",
            object_key=f"{source}/2026-03-05/{event}",
            size=526_000,
            digest=DIGEST,
            lane="bulk",
            association=UUID(int=1),
            received_at=NOW,
            directory_version="v",
            identity=Sealed(key_id="k", nonce="", ciphertext=""),
            dataset_sop_instance_uid=f"{study}.1.{number}",
            dataset_study_uid=study,
        ),
    )


async def _judge(portal: World, event: InstanceReceived, judgement: str, at: datetime = LONG_AGO) -> None:
    data = event.data
    await portal.write(
        validation.judgements,
        {
            "event_id": event.id,
            "source": data.source,
            "study_uid": data.study_uid,
            "sop_instance_uid": data.sop_instance_uid,
            "digest": data.digest,
            "object_key": data.object_key,
            "association": data.association,
            "judgement": judgement,
            "received_at": NOW,
            "judged_at": at,
        },
    )


async def _route(portal: World, event: InstanceReceived, share: UUID | None = None, state: str = "") -> None:
    data = event.data
    row: dict[str, Any] = data.model_dump(
        include={"source", "sop_instance_uid", "study_uid", "series_uid", "sop_class_uid", "transfer_syntax",
                 "modality", "object_key", "size", "digest", "directory_version", "received_at"}
    )  # fmt: skip
    await portal.write(routing.instances, row | {"event_id": event.id})
    if share is not None:
        await portal.write(
            routing.share_instances,
            {
                "share": share,
                "sop_instance_uid": data.sop_instance_uid,
                "digest": data.digest,
                "size": data.size,
                "state": state,
            },
        )


async def test_every_acknowledged_image_is_found_again(portal: World) -> None:
    broker = portal.portal.broker
    assert broker is not None
    source = f"S{uuid4().hex[:6]}"
    done, asked, refused, held = [f"1.2.{n}.{uuid4().int}"[:60] for n in range(4)]
    sent = {name: _received(study, n, source) for n, (name, study) in enumerate(
        {"delivered": done, "again": done, "failed once": done, "unaddressed": asked, "refused": refused,
         "held": held, "backlog": held}.items()
    )}  # fmt: skip
    repeat = sent["again"].model_copy(update={"id": uuid4()})
    # the backlog last: behind it, in whatever partition, nothing is judged
    for event in (repeat, *sent.values()):
        await broker.producer.send(event)
    share = await portal.share(done, source=source)
    await portal.share(refused, source=source, state="refused")
    await portal.study(source, study_uid=done)
    await portal.study(source, study_uid=asked)
    await portal.study(source, study_uid=refused)
    for name in ("delivered", "again", "failed once", "unaddressed", "refused"):
        await _judge(portal, sent[name], "accepted")
    await _judge(portal, repeat, "duplicated")
    await _judge(portal, sent["held"], "quarantined")
    for name, state in (("delivered", "confirmed"), ("again", "confirmed"), ("failed once", "failed")):
        await _route(portal, sent[name], share, state)
    for name in ("unaddressed", "refused"):
        await _route(portal, sent[name])
    async with portal.client() as api:
        after = (await api.get("/api/v1/reconcile")).json()
    assert {name: value for name, value in after.items() if type(value) is int} == {
        "acknowledged": 7, "delivered": 2, "waiting": 3, "quarantined": 1, "refused": 1, "expired": 0,
        "duplicates": 1,
    }  # fmt: skip
    assert after["balanced"] is True
    classes = ("delivered", "waiting", "quarantined", "refused", "expired")
    assert after["acknowledged"] == sum(after[name] for name in classes)


async def test_what_was_recalled_before_it_left_is_accounted_for(portal: World) -> None:
    broker = portal.portal.broker
    assert broker is not None
    source, study = f"S{uuid4().hex[:6]}", f"1.2.{uuid4().int}"[:60]
    sent = [_received(study, number, source) for number in (1, 2)]
    share = await portal.share(study, source=source, state="partial")
    await portal.study(source, study_uid=study)
    for event, state in zip(sent, ("confirmed", "waiting"), strict=True):
        await broker.producer.send(event)
        await _judge(portal, event, "accepted")
        await _route(portal, event, share, state)
    async with portal.database.engine.begin() as connection:
        i = routing.instances.c
        recalled = update(routing.instances).where(i.event_id == sent[1].id).values(recalled=True)
        await connection.execute(recalled)
    async with portal.client() as api:
        after = (await api.get("/api/v1/reconcile")).json()
    assert after["details"].items() >= {"delivered": 1, "recalled": 1}.items()
    assert (after["refused"], after["waiting"], after["balanced"]) == (1, 0, True)


async def test_what_was_passed_over_is_named(portal: World) -> None:
    broker = portal.portal.broker
    assert broker is not None
    source, study = f"S{uuid4().hex[:6]}", f"1.3.{uuid4().int}"[:60]
    lost, later, vanished = (_received(study, n, source) for n in range(3))
    for event in (lost, later, vanished):
        await broker.producer.send(event)
    await _judge(portal, later, "accepted")
    await _judge(portal, vanished, "accepted")
    await _route(portal, later)
    async with portal.client() as api:
        found = (await api.get("/api/v1/reconcile")).json()
    assert found["balanced"] is False
    ours = [one for one in found["unaccounted"] if one["source"] == source]
    ours = [one for one in found["unaccounted"] if one["source"] == source]
    named = {one["sop_instance_uid"]: one["lost_after"] for one in ours}
    assert named == {lost.data.sop_instance_uid: "ingest", vanished.data.sop_instance_uid: "validation"}


async def test_a_dead_letter_is_listed_shown_and_put_back(portal: World) -> None:
    broker = portal.portal.broker
    assert broker is not None
    event = _received(f"1.4.{uuid4().int}"[:60], 1, "RQM")
    raw = RawRecord("instances.bulk", 3, 17, 0, event.key.encode(), event.encode(),
                    (("ce_type", event.type.encode()),))  # fmt: skip
    await DeadLetters(broker.producer, "imex-validation", None).write(
        raw, "no such column", "ProgrammingError"
    )
    async with portal.client() as api:
        items = (await api.get("/api/v1/dead-letters?limit=1000")).json()["items"]
        letter = next(one for one in items if one["key"] == event.key)
        path = f"/api/v1/dead-letters/{letter['topic']}/{letter['partition']}/{letter['offset']}"
        assert letter["reason"] == "no such column"
        assert letter["original"] == "instances.bulk/3/17"
        assert (await api.get(path)).json() == letter
        assert (await api.post(f"{path}/replay")).status_code == 200
        assert (await api.get(f"/api/v1/dead-letters/{letter['topic']}/0/999999")).status_code == 404
        assert (await api.get("/api/v1/dead-letters/instances.bulk/0/0")).status_code == 404
    back = [
        record async for record in broker.reader.read(("instances.bulk",)) if record.value == event.encode()
    ]
    assert [record.key for record in back] == [event.key.encode()]
    assert back[0].header("dead_reason") is None
    assert [data.action for data in await portal.audited()] == ["dead_letter_replayed"]
