"""Four ingest processes and one limit, seen from the DICOM port; then one of them is killed."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.integration.ingest_world import ingest_process

from imex.dimse import Association, AssociationRejected, connect
from imex.dimse.sop_classes import VERIFICATION
from imex.events.catalog import TOPICS
from imex.runtime.topics import ensure_topics
from imex.settings import KafkaSettings

pytestmark = pytest.mark.alone

CONTEXTS = [(VERIFICATION, ["1.2.840.10008.1.2"])]


async def opened(stack: AsyncExitStack, port: int) -> Association | AssociationRejected:
    try:
        return await stack.enter_async_context(connect("127.0.0.1", port, "RQM_PACS", "IMEX", CONTEXTS))
    except AssociationRejected as rejected:
        return rejected


async def test_four_processes_admit_four_of_eight_and_a_killed_ones_places_come_free(
    broker: KafkaSettings, tmp_path: Path
) -> None:
    await ensure_topics(broker, TOPICS)
    groups = {
        "limits": {"associations": 4, "institution_associations": 100, "processes": 4},
        "kafka": {
            "bootstrap": broker.bootstrap,
            "username": broker.username,
            "password": broker.password.get_secret_value(),
        },
        "s3": {"endpoint": "http://127.0.0.1:9"},
    }
    async with AsyncExitStack() as stack:
        started = await asyncio.gather(
            *(
                stack.enter_async_context(ingest_process(groups, tmp_path / str(number)))
                for number in range(4)
            )
        )
        await asyncio.sleep(1.5)  # each has said something since the last one came
        doors = AsyncExitStack()
        attempts = [(process, port) for process, (port, _) in started for _ in range(2)]
        outcomes = await asyncio.gather(*(opened(doors, port) for _, port in attempts))
        inside = [pair for pair, got in zip(attempts, outcomes, strict=True) if isinstance(got, Association)]
        assert len(inside) == 4
        for got in outcomes:
            if isinstance(got, AssociationRejected):
                assert (got.result, got.source, got.reason) == (2, 3, 1)
            else:
                assert await got.echo() == 0

        victim = inside[0][0]
        lost = sum(process is victim for process, _ in inside)
        victim.kill()
        others = [port for process, (port, _) in started if process is not victim]
        late = AsyncExitStack()
        again: list[Association] = []
        async with asyncio.timeout(30):
            while len(again) < lost:
                got = await opened(late, others[0])
                if isinstance(got, Association):
                    again.append(got)
        assert not isinstance(await opened(late, others[1]), Association)
        for association in again:
            association.abort()
        for got in outcomes:
            if isinstance(got, Association):
                got.abort()
