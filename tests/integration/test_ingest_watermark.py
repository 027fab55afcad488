"""A real object store with little room: who is refused, and how the room is learnt."""

import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from tests.integration.test_ingest_flow import CT, EXPLICIT, Rig, running, study_of

from imex.dimse import connect
from imex.events.catalog import TOPICS
from imex.runtime.topics import ensure_topics
from imex.settings import KafkaSettings, S3Settings
from imex.storage import DiskCapacity, ListedCapacity, MinioCapacity, MinioStore, StoreRefused
from imex.storage.provision import ensure_users
from imex.testing.parts import MinioPart
from imex.testing.runtime import until

ROOM = 3_000_000


@pytest.fixture
async def nearly_full(minio: MinioPart, broker: KafkaSettings) -> AsyncIterator[Rig]:
    await ensure_topics(broker, TOPICS)
    storage = {"measure": "listing", "capacity_bytes": ROOM, "poll_s": 0.2}
    async with running(minio, broker, storage=storage) as rig:
        await until(lambda: all(not each.health().detail for each in rig.components))
        yield rig


async def test_routine_studies_are_refused_from_the_mark_on_and_emergencies_go(nearly_full: Rig) -> None:
    rig = nearly_full
    _, files = study_of(21)  # of 131 kB each: 92 % of the room
    assert await rig.send(dict(list(files.items())[:20])) == [0] * 20
    await until(lambda: b"imex_store_refusing 1.0" in rig.metrics.render())

    async def once(data: bytes) -> AsyncIterator[bytes]:
        yield data

    sop, data = list(files.items())[20]
    async with connect("127.0.0.1", rig.port, "RQM_PACS", "IMEX", [(CT, [EXPLICIT])]) as association:
        answer = await association.store(CT, sop, EXPLICIT, once(data), len(data))
    assert answer.status == 0xA700
    assert answer.comment.startswith("out of resources: storage 8")
    assert "emergencies only" in answer.comment
    _, emergency = study_of(1, Modality="MR")
    assert await rig.send(emergency) == [0]
    refused = b'imex_ingest_limited_total{institution="RQM",limit="storage",scope="everybody"} 1.0'
    assert refused in rig.metrics.render()
    (health,) = (each.health() for each in rig.components if each.name == "storage")
    assert health.ready
    assert "storage" in health.detail


def settings_of(minio: MinioPart, access_key: str, secret_key: str) -> S3Settings:
    return S3Settings.model_validate(
        {
            "endpoint": minio.endpoint,
            "access_key": access_key,
            "secret_key": secret_key,
            "bucket": f"b{uuid4().hex}",
        }
    )


class User:
    def __init__(self, name: str) -> None:
        self.access_key = name
        self.secret_key = uuid4().hex


async def test_minio_says_how_full_its_disks_are_to_those_who_may_ask(minio: MinioPart) -> None:
    root = settings_of(minio, minio.access_key, minio.secret_key)
    users = {"ingest": User("ingest-user"), "delivery": User("delivery-user")}
    ensure_users(root, users)
    source = MinioCapacity(settings_of(minio, "ingest-user", users["ingest"].secret_key))
    said = await source.read()
    await source.close()
    assert 0 < said.used < said.total
    admin = MinioAdmin(
        endpoint=minio.endpoint.removeprefix("http://"),
        credentials=StaticProvider(minio.access_key, minio.secret_key),
        secure=False,
    )
    assert sum(disk["totalspace"] for disk in json.loads(admin.info())["servers"][0]["drives"]) == said.total
    other = MinioCapacity(settings_of(minio, "delivery-user", users["delivery"].secret_key))
    with pytest.raises(StoreRefused):
        await other.read()
    await other.close()


async def test_a_listing_and_a_file_system_say_it_too(minio: MinioPart) -> None:
    store = MinioStore(settings_of(minio, minio.access_key, minio.secret_key))
    await store.ensure_bucket()
    await store.put("a", bytes(600))
    await store.put("b", bytes(150))
    listed = await ListedCapacity(store, 1000).read()
    assert (listed.used, listed.total, listed.fraction) == (750, 1000, 0.75)
    await store.close()
    disk = await DiskCapacity("/").read()
    assert 0 < disk.used < disk.total
