"""Delivery as the process that is deployed: Kafka in, DICOM out, facts back on Kafka, SIGTERM."""

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from pydantic import SecretStr
from sqlalchemy import func, select
from tests.integration.delivery_world import SEED, Passage, World, until

from imex.db import Database
from imex.db.migrate import upgrade
from imex.db.tables.delivery import instances
from imex.directory import Directory
from imex.events import Event
from imex.events.catalog import TOPICS
from imex.events.deliveries import DeliveryAttempted, DeliveryCompleted, DeliveryProgressed
from imex.events.directory import DIRECTORY_KEY, DirectoryApplied, DirectoryAppliedData
from imex.local.ports import free_ports
from imex.runtime import Consumer, Message, Producer
from imex.runtime.admin import ensure_topics
from imex.settings import KafkaSettings, S3Settings
from imex.storage import MinioStore
from imex.testing.dicom import synthetic_study
from imex.testing.dimse import DimseRecorder, acceptor
from imex.testing.parts import MinioPart


@asynccontextmanager
async def service(
    url: str, broker: KafkaSettings, s3: S3Settings, log: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The service as a process, and where it serves its health."""
    [http] = free_ports(1)
    environment = {
        **os.environ,
        "IMEX_KAFKA_BOOTSTRAP": broker.bootstrap,
        "IMEX_KAFKA_USERNAME": broker.username,
        "IMEX_KAFKA_PASSWORD": broker.password.get_secret_value(),
        "IMEX_S3_ENDPOINT": s3.endpoint,
        "IMEX_S3_ACCESS_KEY": s3.access_key,
        "IMEX_S3_SECRET_KEY": s3.secret_key.get_secret_value(),
        "IMEX_DB_URL": url,
        "IMEX_DELIVERY_SIGNING_KEY": base64.b64encode(SEED).decode(),
        "IMEX_SEALING_KEYS": json.dumps({"k1": base64.b64encode(SEED).decode()}),
        "IMEX_SEALING_CURRENT": "k1",
        "IMEX_HTTP_PORT": str(http),
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "imex.delivery", env=environment, stdout=output, stderr=output
        )
    try:
        yield process, f"http://127.0.0.1:{http}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def answer(url: str) -> tuple[int, str]:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as got:
            return got.status, await got.text()
    except aiohttp.ClientError:
        return 0, ""


async def listed_instances(database: Database) -> int:
    async with database.look() as connection:
        return await connection.scalar(select(func.count()).select_from(instances)) or 0


@pytest.mark.timeout(240)
async def test_manifests_become_deliveries_and_facts(
    empty_database_url: str, broker: KafkaSettings, minio: MinioPart, tmp_path: Path
) -> None:
    s3 = S3Settings(
        endpoint=minio.endpoint, access_key=minio.access_key, secret_key=SecretStr(minio.secret_key)
    )
    await asyncio.gather(
        asyncio.to_thread(upgrade, empty_database_url, {"delivery": "only-for-tests"}),
        ensure_topics(broker, TOPICS),
    )
    owner = Database(empty_database_url, "delivery")
    store, documents = MinioStore(s3), MinioStore(s3, s3.directory_bucket)
    await asyncio.gather(store.ensure_bucket(), documents.ensure_bucket())
    producer = Producer(broker)
    await producer.start()
    told: list[Event[Any]] = []

    async def listen(messages: Sequence[Message]) -> None:
        told.extend(message.event for message in messages)

    listener = Consumer(broker, "imex-test", ["deliveries"], stateless=listen)
    await listener.start()
    world, receiver = World(owner, store), DimseRecorder()
    role_url = empty_database_url.replace("postgres:", "imex_delivery:", 1)
    try:
        async with (
            acceptor(receiver) as node,
            service(role_url, broker, s3, tmp_path / "log") as (process, http),
        ):
            world.endpoint("RT3", node.port)
            assert world.directory is not None
            await announce(world.directory.directory, documents, producer)
            await until(lambda: answer(f"{http}/ready"), lambda got: got[0] == 200, 60)
            sent, passage = synthetic_study(12, size=64), Passage("RT3")
            for event in await world.listed(passage, sent.instances):
                await producer.send(event)
            await until(lambda: listed_instances(owner), lambda rows: rows == 12)
            await world.until_outcome(passage, "delivered", 60)
            await until(lambda: outbox(owner), lambda rows: rows == 0)
            await until(lambda: told_types(told), lambda types: DeliveryCompleted in types, 30)
            metrics = await answer(f"{http}/metrics")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        await listener.stop()
        await producer.stop()
        await asyncio.gather(store.close(), documents.close(), owner.close())

    assert {uid: "sha256:" + got.sha256 for uid, got in receiver.stored.items()} == sent.digests
    assert {DeliveryProgressed, DeliveryAttempted, DeliveryCompleted} <= set(await told_types(told))
    assert all(event.traceparent for event in told)
    assert 'imex_delivery_instances_total{outcome="confirmed",recipient="RT3"} 12.0' in metrics[1]


async def announce(directory: Directory, documents: MinioStore, producer: Producer) -> None:
    """Put a directory in force, as the portal does."""
    key = f"versions/{uuid4()}"
    await documents.put(key, directory.model_dump_json().encode())
    data = DirectoryAppliedData(number=1, version="0" * 64, object_key=key, applied_by="test")
    await producer.send(DirectoryApplied.of(id=uuid4(), subject=DIRECTORY_KEY, data=data))


async def outbox(database: Database) -> int:
    async with database.unit() as unit:
        return await unit.connection.scalar(select(func.count()).select_from(database.common.outbox)) or 0


async def told_types(told: list[Event[Any]]) -> list[type[Event[Any]]]:
    return [type(event) for event in told]
