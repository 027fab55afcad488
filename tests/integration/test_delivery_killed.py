"""A delivery process killed in the middle of a study, with its payloads in a real MinIO."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr
from tests.integration.delivery_world import Passage, delivery_world, until

from imex.delivery.recorder import BATCH
from imex.dimse import StoreCommand, StoreResponse
from imex.events.deliveries import DeliveryAttempted, DeliveryProgressed
from imex.settings import S3Settings
from imex.storage import MinioStore
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
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.integration.delivery_child", empty_database_url),
                *(str(node.port), minio.endpoint, minio.access_key, minio.secret_key, "killed"),
            )

        await world.issue(passage, sent.instances)
        first = await start()
        try:
            await receiver.wait(lambda: len(receiver.stored) >= 3 * BATCH, 30)
        finally:
            first.kill()
            await first.wait()
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
