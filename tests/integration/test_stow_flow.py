"""STOW-RS from the portal's door to MinIO and Kafka: what is named as stored is there."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from tests.integration.portal_world import World, world
from tests.integration.test_ingest_flow import Rig, running

from imex.dicomweb.related import closing, part_head
from imex.events.catalog import TOPICS
from imex.events.instances import AssociationEndedData, InstanceReceivedData
from imex.portal.dicomweb.ingest import Ingest
from imex.runtime.topics import ensure_topics
from imex.settings import KafkaSettings
from imex.settings.stow import StowDoorSettings
from imex.testing.dicom import SyntheticStudy, synthetic_study
from imex.testing.parts import MinioPart
from imex.testing.runtime import until

SECRET = "a secret of more than thirty-two characters"
KIND = 'multipart/related; type="application/dicom"; boundary=b'


@dataclass
class Both:
    """Ingest on real parts, and the portal before it."""

    rig: Rig
    portal: World

    async def post(self, path: str, content: Any, who: str | None = "RQM", **headers: str) -> httpx2.Response:
        async with self.portal.client(who) as client:
            return await client.post(
                f"/dicom-web{path}", content=content, headers={"content-type": KIND, **headers}, timeout=60
            )

    @property
    def stow(self) -> Any:
        return next(part for part in self.rig.components if part.name == "stow")


@pytest.fixture
async def both(
    minio: MinioPart, kafka_settings: KafkaSettings, migrated_database_url: str
) -> AsyncIterator[Both]:
    await ensure_topics(kafka_settings, TOPICS)
    stow = {"host": "127.0.0.1", "port": 0, "secret": SECRET}
    async with running(minio, kafka_settings, stow=stow) as rig, world(migrated_database_url) as portal:
        made = Both(rig, portal)
        url = f"http://127.0.0.1:{made.stow.port}"
        ingest = Ingest(StowDoorSettings(url=url, secret=SecretStr(SECRET)))
        await ingest.start()
        portal.portal.ingest = ingest
        await until(lambda: all(not each.health().detail for each in rig.components))
        yield made
        await ingest.stop()


def body(*files: bytes) -> bytes:
    parts = (part_head("b", "application/dicom", first=not n) + data for n, data in enumerate(files))
    return b"".join(parts) + closing("b")


def files(study: SyntheticStudy) -> list[bytes]:
    return [instance.file() for instance in study.instances]


async def test_what_is_named_as_stored_is_in_the_store_and_on_the_topic(both: Both) -> None:
    study = synthetic_study(12, size=256)
    answer = await both.post(f"/studies/{study.study_uid}", body(*files(study)))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom+json"
    told = answer.json()
    stored = [item["00081155"]["Value"][0] for item in told["00081199"]["Value"]]
    assert stored == [instance.sop_instance_uid for instance in study.instances]
    assert told["00081190"]["Value"] == [f"http://portal.test/dicom-web/studies/{study.study_uid}"]
    received = await both.rig.events("instances.bulk", study.study_uid, 12, InstanceReceivedData)
    assert {each.sop_instance_uid: each.digest for each in received} == study.digests
    assert {each.source for each in received} == {"RQM"}
    for each in received:
        data = await both.rig.store.get(each.object_key)
        assert f"sha256:{hashlib.sha256(data[-each.size :]).hexdigest()}" == each.digest
    (end,) = await both.rig.events("instances.bulk", study.study_uid, 1, AssociationEndedData)
    assert (end.received, end.outcome) == (12, "released")


async def test_each_bad_part_is_named_and_the_rest_is_stored(both: Both) -> None:
    study, other = synthetic_study(2, size=64), synthetic_study(1, size=64)
    good, cut = files(study)
    answer = await both.post(
        f"/studies/{study.study_uid}", body(good, b"no DICOM at all", cut[:300], *files(other))
    )
    assert answer.status_code == 202
    failed = answer.json()["00081198"]["Value"]
    assert [item["00081197"]["Value"][0] for item in failed] == [0xC000, 0xC000, 0xA901]
    assert failed[2]["00081155"]["Value"] == [other.instances[0].sop_instance_uid]
    nothing = await both.post(f"/studies/{study.study_uid}", body(b"no DICOM at all"))
    assert nothing.status_code == 400 and "00081199" not in nothing.json()


async def test_who_may_not_send_is_told_before_the_body_is_read(both: Both) -> None:
    for who, headers, status in (
        (None, {}, 401),
        ("admin", {}, 403),
        ("RXX", {}, 403),  # not in ingest's directory
        ("RQM", {"accept": "application/dicom+xml"}, 406),
        ("RQM", {"content-type": "application/json"}, 415),
    ):
        answer = await both.post("/studies", body(b"x" * 5_000_000), who, **headers)
        assert answer.status_code == status, answer.text
        assert answer.json()["detail"]
    assert (await both.post("/studies/not-a-uid", body(b"x"))).status_code == 400


async def test_a_body_without_a_length_streams_through(both: Both) -> None:
    study = synthetic_study(1, size=64)
    (one,) = files(study)
    parts = 150

    async def many() -> AsyncIterator[bytes]:
        filler = bytes(512 * 1024)
        for number in range(parts):
            head = part_head("b", "application/dicom", first=not number)
            yield head + (one if number == 0 else b"\0" * 128 + filler)
        yield closing("b")

    answer = await both.post("/studies", many())
    assert answer.status_code == 202
    assert len(answer.json()["00081198"]["Value"]) == parts - 1


async def test_a_sender_that_goes_away_leaves_nothing_open(both: Both) -> None:
    study = synthetic_study(3, size=64)
    gone = asyncio.Event()

    async def breaks() -> AsyncIterator[bytes]:
        yield body(*files(study))[:-3000]
        await both.rig.events("instances.bulk", study.study_uid, 2, InstanceReceivedData)
        gone.set()
        raise ConnectionResetError

    answer = await both.post(f"/studies/{study.study_uid}", breaks())
    assert gone.is_set() and answer.status_code == 503
    (end,) = await both.rig.events("instances.bulk", study.study_uid, 1, AssociationEndedData)
    assert (end.received, end.outcome) == (2, "lost")


async def test_with_the_object_store_away_nothing_is_named_as_stored(both: Both, minio: MinioPart) -> None:
    study = synthetic_study(6, size=64)
    minio.part.kill()
    try:
        answer = await both.post("/studies", body(*files(study)))
    finally:
        await asyncio.to_thread(minio.part.start)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert {item["00081197"]["Value"][0] for item in answer.json()["00081198"]["Value"]} == {0xA700}


async def test_without_ingest_the_portal_says_so(both: Both) -> None:
    await both.stow.stop()
    answer = await both.post("/studies", body(b"x"))
    assert answer.status_code == 503 and "again" in answer.json()["detail"]
    assert answer.headers["retry-after"]
