"""A delivery process killed in the middle of a study, with its payloads in a real MinIO."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from tests.integration.delivery_world import Passage, delivery_world, until

from imex.db.tables.delivery import inbox_instances
from imex.delivery.inbox_orphans import InboxOrphans
from imex.delivery.recorder import BATCH
from imex.dicom import dataset_digest
from imex.dimse import StoreCommand, StoreResponse
from imex.events.deliveries import DeliveryAttempted, DeliveryProgressed
from imex.settings import S3Settings
from imex.storage import MinioStore
from imex.storage.keys import INBOX_PREFIX
from imex.testing.archive import Archive, archive
from imex.testing.dicom import synthetic_study
from imex.testing.dimse import DimseRecorder, acceptor
from imex.testing.parts import MinioPart

pytestmark = pytest.mark.alone


@pytest.fixture
async def store(minio: MinioPart) -> AsyncIterator[MinioStore]:
    made = MinioStore(
        S3Settings(
            endpoint=minio.endpoint,
            access_key=minio.access_key,
            secret_key=SecretStr(minio.secret_key),
        )
    )
    await made.ensure_bucket()
    yield made
    await made.close()


IN_FLIGHT = 2
"""One on each association."""


async def child(url: str, minio: MinioPart, port: int, about: str) -> asyncio.subprocess.Process:
    """Delivery as a process; all have one name, so that each takes up at once what the one before it left."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.delivery_child", url),
        *(str(port), minio.endpoint, minio.access_key, minio.secret_key, "killed", about),
    )


async def kill(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.wait()


async def slowly(_: StoreCommand) -> StoreResponse:
    await asyncio.sleep(0.005)
    return StoreResponse()


async def test_only_what_was_in_flight_is_sent_again(
    empty_database_url: str, minio: MinioPart, store: MinioStore
) -> None:
    sent, passage, receiver = (
        synthetic_study(5 * BATCH, size=64),
        Passage("RT3"),
        DimseRecorder(on_commit=slowly),
    )
    async with delivery_world(empty_database_url, store) as world, acceptor(receiver) as node:

        async def start() -> asyncio.subprocess.Process:
            return await child(empty_database_url, minio, node.port, "sends")

        await world.issue(passage, sent.instances)
        first = await start()
        try:
            await receiver.wait(lambda: len(receiver.stored) >= 3 * BATCH, 30)
        finally:
            await kill(first)
        recorded = Counter(row.state for row in (await world.instances(passage)).values())
        second = await start()
        try:
            await world.until_outcome(passage, "delivered", 30)
        finally:
            second.terminate()
            await second.wait()

        await until(lambda: world.receipts(passage), lambda found: len(found) == 1)
        attempts = await world.events(DeliveryAttempted)
        progressed = await world.events(DeliveryProgressed)

    assert {uid: "sha256:" + got.sha256 for uid, got in receiver.stored.items()} == sent.digests
    assert recorded["confirmed"] > 0
    times = Counter(command.sop_instance_uid for command in receiver.commands)
    again = [uid for uid, count in times.items() if count > 1]
    # what had been answered within the last batch of outcomes, and those in flight
    assert len(again) <= BATCH + IN_FLIGHT
    assert max(times.values()) <= 2
    assert [one.data.outcome for one in attempts] == ["failed", "succeeded"]
    assert "interrupted" in attempts[0].data.reason
    told = Counter(one.sop_instance_uid for event in progressed for one in event.data.outcomes)
    assert set(told) == set(sent.digests)
    assert set(told.values()) == {1}


async def test_what_was_sent_before_the_kill_is_asked_for_and_not_sent_again(
    empty_database_url: str, minio: MinioPart, store: MinioStore
) -> None:
    sent = synthetic_study(4, size=32)
    passage, keeping = Passage("RT3", sent.study_uid), Archive(finds=False)
    async with delivery_world(empty_database_url, store) as world:
        with archive(keeping) as node:
            await world.issue(passage, sent.instances)
            first = await child(empty_database_url, minio, node.port, "confirms")
            try:
                await until(
                    lambda: world.instances(passage),
                    lambda rows: {row.state for row in rows.values()} == {"sent"},
                    30,
                )
            finally:
                await kill(first)
            row = await world.row(passage)
            assert (row.outcome, await world.receipts(passage)) == (None, []), "nothing says delivered"
        keeping.finds = True
        with archive(keeping) as node:
            second = await child(empty_database_url, minio, node.port, "confirms")
            try:
                await world.until_outcome(passage, "delivered", 30)
            finally:
                await kill(second)
        [receipt] = await world.receipts(passage)
    assert {one["confirmed_by"] for one in receipt.document["instances"]} == {"query"}
    assert Counter(keeping.stores) == Counter(list(sent.digests))


async def test_what_was_put_into_an_inbox_before_the_kill_is_put_once_more_and_the_rest_swept(
    empty_database_url: str, minio: MinioPart, store: MinioStore
) -> None:
    sent = synthetic_study(3, size=32)
    passage = Passage("RT3", sent.study_uid, agreement="a1")

    async def written() -> set[str]:
        return {info.key async for info in store.list(INBOX_PREFIX)}

    async with delivery_world(empty_database_url, store) as world:
        await world.issue(passage, sent.instances)
        first = await child(empty_database_url, minio, 0, "unrecorded")
        try:
            orphans = await until(written, lambda keys: len(keys) == 3, 30)
        finally:
            await kill(first)
        assert not await world.rows_of(inbox_instances)
        second = await child(empty_database_url, minio, 0, "inbox")
        try:
            await world.until_outcome(passage, "delivered", 30)
        finally:
            await kill(second)
        rows = await world.rows_of(inbox_instances)
        kept = {row.object_key for row in rows}
        assert (len(rows), await written()) == (3, kept | orphans)
        assert not kept & orphans
        for row in rows:
            assert dataset_digest(await store.get(row.object_key)) == row.given_digest
        later = datetime.now(UTC) + timedelta(days=4)
        while await InboxOrphans(world.database, store, lambda: later).turn():
            pass
        assert await written() == kept
