"""Many large data sets at once through little memory: over TCP, every one of them arrives."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from imex.dicom import dataset_offset
from imex.dimse import connect
from imex.ingest.adapters import CountingObserver, DicomServer
from imex.ingest.budget import Receiving
from imex.ingest.handler import IngestPolicy
from imex.ingest.ports import MIB, Tuning
from imex.ingest.settings import DicomSettings

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
SIZE = 16 * MIB
SENDERS = 12


async def test_large_data_sets_all_get_through_a_budget_that_two_of_them_fill(
    new_world: Callable[..., Any], dataset: Callable[..., bytes]
) -> None:
    world = new_world(Tuning(single_put_bytes=4 * MIB, budget_wait_s=60.0), budget=SIZE)
    receiving = Receiving(world.memory, SIZE // 4, MIB)
    server = DicomServer(
        DicomSettings.model_validate({"host": "127.0.0.1", "port": 0}),
        IngestPolicy(world.around),
        CountingObserver(world.around.meters),
        drain_s=1.0,
        memory=receiving,
    )
    await server.start()
    data = dataset(Rows=2896, Columns=2896, PixelData=bytes(2896 * 2896 * 2))
    peak = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal peak
        for start in range(0, len(data), 128 * 1024):
            yield data[start : start + 128 * 1024]
            peak = max(peak, world.memory.used)

    async def send(number: int) -> int:
        async with connect("127.0.0.1", server.port, "RQM_PACS", "IMEX", [(CT, [EXPLICIT])]) as association:
            answer = await association.store(CT, f"1.2.3.{number}", EXPLICIT, pieces(), len(data))
            return answer.status

    try:
        async with asyncio.timeout(60):
            assert await asyncio.gather(*(send(number) for number in range(SENDERS))) == [0] * SENDERS
    finally:
        await server.stop()
    floors = SENDERS * 2 * 64 * 1024
    assert peak <= SIZE + floors
    assert (world.memory.used, receiving.used) == (0, 0)
    digests = {hashlib.sha256(content[dataset_offset(content) :]).digest() for content in _contents(world)}
    assert digests == {hashlib.sha256(data).digest()}


def _contents(world: Any) -> list[bytes]:
    return [world.store.objects[said.object_key][0] for said in world.received]
