"""The whole service on a real broker and a real database: from judged instances to a delivered share."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from tests.integration.routing_world import AGREED, DELIVERY, HOSPITALS, TO_B, Clock, Sending, Snapshot

from imex.db import Database
from imex.db.migrate import upgrade
from imex.db.tables import routing as tables
from imex.directory import parse
from imex.directory.document import canonical
from imex.events import TOPICS, Event, Identity, decode
from imex.events.deliveries import (
    DeliveryCompleted,
    DeliveryCompletedData,
    DeliveryProgressed,
    DeliveryProgressedData,
    InstanceOutcome,
)
from imex.events.directory import DirectoryApplied, DirectoryAppliedData
from imex.events.manifests import ManifestClosed, ManifestIssued
from imex.observability.metrics import Metrics
from imex.routing.__main__ import components
from imex.routing.settings import Settings
from imex.runtime import Producer
from imex.runtime.app import App
from imex.runtime.topics import ensure_topics
from imex.sealing import Sealer
from imex.settings import KafkaSettings
from imex.testing.runtime import read_all, until
from imex.testing.storage import MemoryStore

KEY = bytes(range(32))


@pytest.fixture
async def settings(
    kafka_settings: KafkaSettings, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    upgrade(empty_database_url, {"routing": "only-for-tests"})
    role = empty_database_url.replace("//postgres:", "//imex_routing:")
    for name, value in {
        "IMEX_KAFKA_BOOTSTRAP": kafka_settings.bootstrap,
        "IMEX_KAFKA_USERNAME": kafka_settings.username,
        "IMEX_KAFKA_PASSWORD": kafka_settings.password.get_secret_value(),
        "IMEX_DB_URL": role,
        "IMEX_S3_ENDPOINT": "http://127.0.0.1:1",
        "IMEX_SEALING_KEYS": json.dumps({"k": base64.b64encode(KEY).decode()}),
        "IMEX_SEALING_CURRENT": "k",
        "IMEX_HTTP_PORT": "0",
        "IMEX_ROUTING_QUIET_S": "0.5",
        "IMEX_ROUTING_ASSOCIATION_GRACE_S": "30",
    }.items():
        monkeypatch.setenv(name, value)
    return Settings()


@asynccontextmanager
async def serving(settings: Settings, kafka_settings: KafkaSettings) -> AsyncIterator[App]:
    """The service, from its start to its end."""
    await ensure_topics(kafka_settings, TOPICS)
    directory = parse(HOSPITALS + AGREED + TO_B)
    version = Snapshot(HOSPITALS + AGREED + TO_B).index.version
    documents = MemoryStore()
    await documents.put(f"versions/{version}.json", canonical(directory))
    producer = Producer(kafka_settings, "test-directory")
    await producer.start()
    await producer.send(
        DirectoryApplied.of(
            id=uuid4(),
            subject="directory",
            data=DirectoryAppliedData(
                number=int(datetime.now(UTC).timestamp()),
                version=version,
                object_key=f"versions/{version}.json",
                applied_by="admin",
            ),
        )
    )
    await producer.stop()
    metrics = Metrics("routing")
    running = App("routing", components(settings, metrics, documents, documents), settings.http, metrics)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def app(settings: Settings, kafka_settings: KafkaSettings) -> AsyncIterator[App]:
    async with serving(settings, kafka_settings) as running:
        yield running


async def read(settings: KafkaSettings, topic: str, study_uid: str) -> list[Event[Any]]:
    """What a topic says of a study."""
    records = await read_all(settings, topic, 0)
    events = [decode(record.value or b"") for record in records]
    return [event for event in events if getattr(event.data, "study_uid", None) == study_uid]


async def test_a_study_that_came_while_routing_was_stopped_closes_once_all_of_it_is_read(
    settings: Settings, kafka_settings: KafkaSettings
) -> None:
    uid, sealer = f"1.2.{uuid4().int}", Sealer({"k": KEY}, "k")
    clock = Clock()
    world: Any = type("Here", (), {"clock": clock, "directories": Snapshot(HOSPITALS + AGREED + TO_B)})
    await ensure_topics(kafka_settings, TOPICS)
    producer = Producer(kafka_settings, "test-validation")
    await producer.start()
    for sending in (Sending(world, study_uid=uid), Sending(world, study_uid=uid)):
        for number in range(300):
            clock.now = datetime.now(UTC)
            facts = sending.facts(number)
            uid_of = f"{uid}.{sending.association.int % 1000}.{number}"
            sealed = sealer.seal(Identity(), facts["object_key"].encode())
            (event,) = sending.accepted(
                number, object_key=facts["object_key"], identity=sealed, sop_instance_uid=uid_of
            )
            await producer.send(event)
        await producer.send(sending.over(300))
    await producer.stop()
    await asyncio.sleep(4 * settings.routing.quiet_s)  # by the wall's clock all of it has been quiet for long

    async def closed() -> list[ManifestClosed]:
        events = await read(kafka_settings, "manifests.bulk", uid)
        return [event for event in events if isinstance(event, ManifestClosed)]

    async with serving(settings, kafka_settings):
        await until(lambda: _any(closed), 60)
        await asyncio.sleep(4 * settings.routing.quiet_s)  # a second closing would have come
        [manifest] = await closed()
    assert (manifest.data.revision, manifest.data.instances) == (1, 600)


async def _any(found: Callable[[], Awaitable[list[ManifestClosed]]]) -> bool:
    return bool(await found())


async def test_a_study_goes_from_judged_to_delivered(
    app: App, settings: Settings, kafka_settings: KafkaSettings
) -> None:
    await until(lambda: all(health.ready for health in app.healths().values()), 60)
    uid, sealer = f"1.2.{uuid4().int}", Sealer({"k": KEY}, "k")
    clock = Clock()
    clock.now = datetime.now(UTC)
    world: Any = type("Here", (), {"clock": clock, "directories": Snapshot(HOSPITALS + AGREED + TO_B)})
    sending = Sending(world, study_uid=uid)
    producer = Producer(kafka_settings, "test-validation")
    await producer.start()
    for number in range(1, 21):
        facts = sending.facts(number)
        sealed = sealer.seal(Identity(accession="ACC7"), facts["object_key"].encode())
        (event,) = sending.accepted(number, object_key=facts["object_key"], identity=sealed)
        await producer.send(event)
    await producer.send(sending.over(20))
    database = Database(settings.database.url)

    async def share() -> Any:
        async with database.engine.connect() as connection:
            query = select(tables.shares).where(tables.shares.c.study_uid == uid)
            return (await connection.execute(query)).one_or_none()

    async def in_state(state: str) -> bool:
        found = await share()
        return found is not None and found.state == state

    await until(lambda: in_state("delivering"), 20)

    async def manifest_is_out() -> bool:
        events = await read(kafka_settings, "manifests.bulk", uid)
        return any(isinstance(event, ManifestClosed) for event in events)

    await until(manifest_is_out, 20)
    issued, closed = await read(kafka_settings, "manifests.bulk", uid)
    assert isinstance(issued, ManifestIssued)
    assert isinstance(closed, ManifestClosed)
    assert len(issued.data.instances) == closed.data.instances == 20
    of = {name: getattr(issued.data, name) for name in DELIVERY}
    outcomes = tuple(
        InstanceOutcome(
            sop_instance_uid=one.sop_instance_uid,
            digest=one.digest,
            state="confirmed",
            status="0x0000",
            at=datetime.now(UTC),
        )
        for one in issued.data.instances
    )
    await producer.send(
        DeliveryProgressed.of(
            id=uuid4(), subject="delivery", data=DeliveryProgressedData(**of, outcomes=outcomes)
        )
    )
    await producer.send(
        DeliveryCompleted.of(
            id=uuid4(),
            subject="delivery",
            data=DeliveryCompletedData(**of, revision=1, confirmed=20, failed=0, receipt_digest="sha256:1"),
        )
    )
    await until(lambda: in_state("delivered"), 20)

    async def told() -> bool:
        events = await read(kafka_settings, "shares", uid)
        return [event.type.removeprefix("imex.share.") for event in events] == [
            "requested",
            "accepted",
            "completed",
            "first_image_received",
            "delivered",
        ]

    await until(told, 20)
    async with database.engine.connect() as connection:
        accession = select(tables.studies.c.accession).where(tables.studies.c.study_uid == uid)
        assert await connection.scalar(accession) == "ACC7"
    await producer.stop()
    await database.close()
