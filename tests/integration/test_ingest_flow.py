"""Ingest on real parts: DICOM in over TCP, payloads in MinIO, events in Kafka."""

import asyncio
import base64
import hashlib
import io
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from imex.dicom import dataset_digest, dataset_offset
from imex.dimse import AssociationRejected, connect
from imex.directory import DirectoryIndex, parse
from imex.events import Identity, decode
from imex.events.audit import AuditRecordedData
from imex.events.catalog import TOPICS
from imex.events.instances import AssociationEndedData, InstanceReceivedData
from imex.ingest.__main__ import components as ingest_components
from imex.ingest.settings import Settings
from imex.observability.metrics import Metrics
from imex.runtime.topics import ensure_topics
from imex.sealing import Sealer
from imex.settings import KafkaSettings, S3Settings
from imex.storage import MinioStore
from imex.testing.parts import KafkaPart, MinioPart
from imex.testing.runtime import read_all, until

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
KEY = bytes(range(32))
DIRECTORY = """
institutions:
  - {code: RQM, name: Hospital A, kind: nhs, senders: [{ae_title: RQM_PACS}]}
  - {code: RT3, name: Hospital B, kind: nhs}
  - {code: RX1, name: Hospital C, kind: nhs}
agreements:
  - {id: a1, from: RQM, to: RT3, purposes: [direct-care], legal_basis: law}
rules:
  - {id: r1, match: {modality: MR}, to: [RT3], priority: emergency}
"""


@dataclass
class Rig:
    """A running ingest and ways to look at what it did."""

    port: int
    store: MinioStore
    kafka: KafkaSettings
    components: Any
    metrics: Metrics

    async def events(self, topic: str, study_uid: str, at_least: int, kind: type[Any]) -> list[Any]:
        """Data of the events of a kind about one study, in order."""

        async def found() -> list[Any]:
            records = await read_all(self.kafka, topic, 0)
            data = [decode(record.value or b"").data for record in records]
            return [each for each in data if isinstance(each, kind) and each.study_uid == study_uid]

        deadline = asyncio.get_running_loop().time() + 20
        while len(data := await found()) < at_least:
            assert asyncio.get_running_loop().time() < deadline, f"{len(data)} of {at_least}"
        return data

    async def send(
        self, files: dict[str, bytes], called: str = "IMEX", calling: str = "RQM_PACS"
    ) -> list[int]:
        async def once(data: bytes) -> AsyncIterator[bytes]:
            yield data

        statuses = []
        async with connect("127.0.0.1", self.port, calling, called, [(CT, [EXPLICIT])]) as association:
            for sop, data in files.items():
                response = await association.store(CT, sop, EXPLICIT, once(data), len(data))
                statuses.append(response.status)
        return statuses


@asynccontextmanager
async def running(minio: MinioPart, kafka: KafkaSettings, **groups: dict[str, Any]) -> AsyncIterator[Rig]:
    """`groups` are further settings."""
    s3 = S3Settings.model_validate(
        {
            "endpoint": minio.endpoint,
            "access_key": minio.access_key,
            "secret_key": minio.secret_key,
            "bucket": f"b{uuid4().hex}",
        }
    )
    settings = Settings.model_validate(
        {
            "dicom": {"host": "127.0.0.1", "port": 0},
            "ingest": {"drain_s": 5.0},
            "kafka": kafka,
            "s3": s3,
            "sealing": {"keys": {"k1": base64.b64encode(KEY).decode()}, "current": "k1"},
            "http": {"port": 0},
            **groups,
        }
    )
    store = MinioStore(s3)
    await store.ensure_bucket()
    index = DirectoryIndex(parse(DIRECTORY))
    metrics = Metrics("ingest")
    components, server = ingest_components(settings, metrics, lambda: index)
    for component in components:
        await component.start()
    try:
        yield Rig(server.port, store, kafka, components, metrics)
    finally:
        for component in reversed(components):
            await component.stop()
        await store.close()


@pytest.fixture
async def topics(kafka_settings: KafkaSettings) -> None:
    await ensure_topics(kafka_settings, TOPICS)


@pytest.fixture
async def rig(minio: MinioPart, kafka_settings: KafkaSettings, topics: None) -> AsyncIterator[Rig]:
    async with running(minio, kafka_settings) as made:
        await made.send({})
        await until(lambda: all(not each.health().detail for each in made.components))
        yield made


def image(study: str, sop: str, **changes: Any) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = CT
    ds.SOPInstanceUID = sop
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = f"{study}.1"
    ds.Modality = "CT"
    ds.PatientName = "Synthetic^Zoë"
    ds.PatientID = "9434765919"
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.SamplesPerPixel = 256, 256, 16, 1
    ds.PixelData = bytes(131072)
    for name, value in changes.items():
        setattr(ds, name, value)
    return ds


def encoded(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def study_of(count: int, **changes: Any) -> tuple[str, dict[str, bytes]]:
    study = f"2.25.{uuid4().int}"
    sops = [f"2.25.{uuid4().int}" for _ in range(count)]
    return study, {sop: encoded(image(study, sop, **changes)) for sop in sops}


async def test_a_study_is_safe_when_its_sender_hears_success(rig: Rig) -> None:
    study, files = study_of(12)
    assert await rig.send(files) == [0] * 12
    received = await rig.events("instances.bulk", study, 12, InstanceReceivedData)
    assert [each.sop_instance_uid for each in received] == list(files)
    for said in received:
        content = await rig.store.get(said.object_key)
        assert content[dataset_offset(content) :] == files[said.sop_instance_uid]
        assert dataset_digest(content) == said.digest
        info = await rig.store.head(said.object_key)
        assert info.metadata["digest"] == said.digest
        sealer = Sealer({"k1": KEY}, "k1")
        identity = sealer.open_as(Identity, said.identity, said.object_key.encode())
        assert identity.patient_name == "Synthetic^Zoë"
    (end,) = await rig.events("instances.bulk", study, 1, AssociationEndedData)
    assert (end.received, end.refused, end.outcome) == (12, 0, "released")
    (audit,) = await rig.events("audit", study, 1, AuditRecordedData)
    assert (audit.action, audit.counts["received"]) == ("instances_received", 12)
    assert b'imex_ingest_instances_total{lane="bulk",status="0000"} 12.0' in rig.metrics.render()


async def test_two_associations_of_one_study_end_twice(rig: Rig) -> None:
    study, files = study_of(10)
    halves = dict(list(files.items())[:5]), dict(list(files.items())[5:])
    assert await asyncio.gather(*map(rig.send, halves)) == [[0] * 5, [0] * 5]
    ends = await rig.events("instances.bulk", study, 2, AssociationEndedData)
    assert sorted(end.received for end in ends) == [5, 5]
    received = await rig.events("instances.bulk", study, 10, InstanceReceivedData)
    assert {each.association for each in received} == {end.association for end in ends}


async def test_an_emergency_takes_the_express_lane(rig: Rig) -> None:
    study, files = study_of(2, Modality="MR")
    assert await rig.send(files) == [0, 0]
    assert len(await rig.events("instances.express", study, 2, InstanceReceivedData)) == 2
    assert len(await rig.events("instances.express", study, 1, AssociationEndedData)) == 1


async def test_a_recipient_without_an_agreement_is_refused_with_the_reason(rig: Rig) -> None:
    study, files = study_of(1)
    assert await rig.send(files, called="RX1") == [0x0124]
    (audit,) = await rig.events("audit", study, 1, AuditRecordedData)
    assert (audit.action, audit.recipient) == ("instances_refused", "RX1")
    assert [each async for each in rig.store.list("RQM/")] == []


@pytest.mark.parametrize(("calling", "called", "reason"), [("NOBODY", "IMEX", 3), ("RQM_PACS", "NOWHERE", 7)])
async def test_unknown_ae_titles_are_rejected(rig: Rig, calling: str, called: str, reason: int) -> None:
    with pytest.raises(AssociationRejected) as rejected:
        await rig.send({}, called, calling)
    assert (rejected.value.result, rejected.value.source, rejected.value.reason) == (1, 1, reason)


async def test_large_data_sets_stream_to_the_store(rig: Rig) -> None:
    study, files = study_of(1, Rows=4096, Columns=3072, PixelData=bytes(4096 * 3072 * 2))
    assert await rig.send(files) == [0]
    (said,) = await rig.events("instances.bulk", study, 1, InstanceReceivedData)
    (data,) = files.values()
    assert said.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert (await rig.store.head(said.object_key)).size > len(data)


async def test_dcmtk_sends_and_hears_success(rig: Rig, tmp_path: Path) -> None:
    study, files = study_of(5)
    for number, data in enumerate(files.values()):
        ds = pydicom.dcmread(io.BytesIO(data), force=True)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = UID(EXPLICIT)
        ds.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)

    def dcmsend() -> None:
        command = ["dcmsend", "-aet", "RQM_PACS", "-aec", "IMEX", "127.0.0.1", str(rig.port), "+sd"]
        done = subprocess.run([*command, str(tmp_path)], capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    await asyncio.to_thread(dcmsend)
    assert len(await rig.events("instances.bulk", study, 5, InstanceReceivedData)) == 5


async def test_a_sender_that_vanishes_leaves_no_object(rig: Rig) -> None:
    study, files = study_of(1)
    (data,) = files.values()

    async def some() -> AsyncIterator[bytes]:
        yield data[:50_000]
        raise ConnectionError

    with pytest.raises(Exception):  # noqa: B017  whichever way the requestor says so
        async with connect("127.0.0.1", rig.port, "RQM_PACS", "IMEX", [(CT, [EXPLICIT])]) as association:
            await association.store(CT, "1.2.3", EXPLICIT, some(), len(data))
    await until(lambda: "imex_ingest_associations_open 0.0" in rig.metrics.render().decode())
    assert [each async for each in rig.store.list("RQM/")] == []
    assert await rig.events("instances.bulk", study, 0, InstanceReceivedData) == []


async def test_with_the_store_away_senders_hear_a700_in_time_and_later_success(
    rig: Rig, minio: MinioPart
) -> None:
    study, files = study_of(1)
    for away, back in ((minio.part.kill, minio.part.start), (minio.part.pause, minio.part.resume)):
        away()
        try:
            async with asyncio.timeout(20):
                assert await rig.send(files) == [0xA700]
            assert all(each.health().ready for each in rig.components)
        finally:
            back()
        assert await rig.send(files) == [0]
    assert len(await rig.events("instances.bulk", study, 2, InstanceReceivedData)) >= 2


async def test_with_the_broker_away_senders_hear_a700_in_time_and_later_success(
    rig: Rig, kafka: KafkaPart
) -> None:
    study, files = study_of(1)
    kafka.part.pause()
    try:
        async with asyncio.timeout(20):
            assert await rig.send(files) == [0xA700]
        assert all(each.health().ready for each in rig.components)
    finally:
        kafka.part.resume()

    async def succeeds() -> bool:
        return await rig.send(files) == [0]

    await until(succeeds, 60)
    ends = await rig.events("instances.bulk", study, 2, AssociationEndedData)
    assert sorted(end.refused for end in ends)[-1] == 1


async def test_without_a_broker_at_the_start_ingest_is_ready_and_answers_a700(minio: MinioPart) -> None:
    nowhere = KafkaSettings.model_validate({"bootstrap": "127.0.0.1:9"})
    async with running(minio, nowhere) as rig:
        assert all(each.health().ready and each.health().live for each in rig.components)
        _, files = study_of(1)
        async with asyncio.timeout(20):
            assert await rig.send(files) == [0xA700]
