"""Ingest as the process that is deployed: settings from the environment, health over HTTP, SIGTERM."""

import asyncio
import base64
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from imex.dimse import DimseError, connect
from imex.events.catalog import TOPICS
from imex.events.directory import DIRECTORY_KEY, DirectoryApplied, DirectoryAppliedData
from imex.local.ports import free_ports
from imex.runtime.producer import Producer
from imex.runtime.topics import ensure_topics
from imex.settings import KafkaSettings, S3Settings
from imex.storage import MinioStore
from imex.testing.parts import MinioPart
from imex.testing.runtime import until

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
DIRECTORY = b'{"institutions":[{"code":"RQM","name":"A","kind":"nhs","senders":[{"ae_title":"RQM_PACS"}]}]}'


@dataclass
class Running:
    """A process and its ports."""

    process: asyncio.subprocess.Process
    dicom: int
    http: int

    async def status(self, path: str) -> int:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.http}{path}") as answer,
            ):
                return answer.status
        except aiohttp.ClientError:
            return 0

    async def ready(self) -> bool:
        return await self.status("/ready") == 200

    async def echo(self) -> int:
        contexts = [(VERIFICATION, [IMPLICIT])]
        async with connect("127.0.0.1", self.dicom, "RQM_PACS", "IMEX", contexts) as association:
            return await association.echo()

    async def takes_associations(self) -> bool:
        try:
            return await self.echo() == 0
        except DimseError:
            return False


@asynccontextmanager
async def ingest(minio: MinioPart, kafka: KafkaSettings, bucket: str, log: Path) -> AsyncIterator[Running]:
    dicom, http = free_ports(2)
    environment = {
        **os.environ,
        "IMEX_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "IMEX_KAFKA_USERNAME": kafka.username,
        "IMEX_KAFKA_PASSWORD": kafka.password.get_secret_value(),
        "IMEX_S3_ENDPOINT": minio.endpoint,
        "IMEX_S3_ACCESS_KEY": minio.access_key,
        "IMEX_S3_SECRET_KEY": minio.secret_key,
        "IMEX_S3_BUCKET": f"{bucket}-payloads",
        "IMEX_S3_DIRECTORY_BUCKET": bucket,
        "IMEX_SEALING_KEYS": f'{{"k1": "{base64.b64encode(bytes(32)).decode()}"}}',
        "IMEX_SEALING_CURRENT": "k1",
        "IMEX_DICOM_HOST": "127.0.0.1",
        "IMEX_DICOM_PORT": str(dicom),
        "IMEX_HTTP_PORT": str(http),
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "imex.ingest", env=environment, stdout=output, stderr=output
        )
    try:
        yield Running(process, dicom, http)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
async def bucket(minio: MinioPart) -> str:
    """A bucket with a stored directory."""
    name = f"d{uuid4().hex}"
    settings = S3Settings.model_validate(
        {"endpoint": minio.endpoint, "access_key": minio.access_key, "secret_key": minio.secret_key}
    )
    for each in (f"{name}-payloads", name):
        store = MinioStore(settings, each)
        await store.ensure_bucket()
        if each == name:
            await store.put("versions/first.json", DIRECTORY)
        await store.close()
    return name


async def test_ingest_starts_from_the_stored_directory_while_kafka_is_away(
    minio: MinioPart, bucket: str, tmp_path: Path
) -> None:
    nowhere = KafkaSettings.model_validate({"bootstrap": "127.0.0.1:9"})
    async with ingest(minio, nowhere, bucket, tmp_path / "log") as running:
        await until(running.ready, 60)
        assert await running.status("/live") == 200
        assert await running.echo() == 0


async def test_ingest_follows_the_directory_and_drains_on_sigterm(
    minio: MinioPart, bucket: str, broker: KafkaSettings, tmp_path: Path
) -> None:
    await ensure_topics(broker, TOPICS)
    producer = Producer(broker)
    await producer.start()
    applied = DirectoryAppliedData(
        number=1, version=uuid4().hex, object_key="versions/first.json", applied_by="test"
    )
    await producer.send(DirectoryApplied.of(id=uuid4(), subject=DIRECTORY_KEY, data=applied))
    await producer.stop()
    async with ingest(minio, broker, bucket, tmp_path / "log") as running:
        await until(running.takes_associations, 60)
        await until(running.ready)
        contexts = [(VERIFICATION, [IMPLICIT])]
        async with connect("127.0.0.1", running.dicom, "RQM_PACS", "IMEX", contexts) as association:
            running.process.send_signal(signal.SIGTERM)
            await until(lambda: _unready(running))
            assert await association.echo() == 0
            assert running.process.returncode is None
        async with asyncio.timeout(20):
            assert await running.process.wait() == 0


async def _unready(running: Running) -> bool:
    return await running.status("/ready") == 503


async def test_wrong_settings_end_it_with_the_variables_name(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "IMEX_DICOM_PORT": "99999"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "imex.ingest"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode != 0
    assert b"port" in output
