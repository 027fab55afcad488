"""Two hundred senders and an object store that takes nothing: ingest slows them down instead of growing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import SSLContext, create_default_context
from typing import Any

import pytest
from tests.integration.ingest_world import ingest_process

from imex.dimse import connect
from imex.dimse.sop_classes import VERIFICATION
from imex.local.certificates import Certificates

pytestmark = pytest.mark.alone

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
MIB = 1024 * 1024
SENDERS = 200
DATA_SET = 12 * MIB


@asynccontextmanager
async def store_that_takes_nothing() -> AsyncIterator[str]:
    """Accepts connections and reads nothing from them."""

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0, limit=1024)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def client_context(folder: Path) -> SSLContext:
    certificates = Certificates(folder)
    pair = certificates.client("RQM")
    context = create_default_context(cafile=certificates.ca)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def resident(pid: int) -> int:
    """Bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


async def data() -> AsyncIterator[bytes]:
    for _ in range(DATA_SET // (64 * 1024)):
        yield bytes(64 * 1024)


async def send(port: int, number: int, began: asyncio.Semaphore, tls: SSLContext | None) -> None:
    contexts = [(CT, [EXPLICIT])]
    async with connect("127.0.0.1", port, "RQM_PACS", "IMEX", contexts, tls=tls) as association:
        began.release()
        await association.store(CT, f"1.2.3.{number}", EXPLICIT, data(), DATA_SET)


def slow(endpoint: str) -> dict[str, Any]:
    """Settings: the store that takes nothing, and no broker."""
    return {
        "ingest": {"memory_bytes": 128 * MIB},
        "limits": {"associations": 500, "institution_associations": 500},
        "kafka": {"bootstrap": "127.0.0.1:9"},
        "s3": {"endpoint": endpoint},
    }


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_two_hundred_slow_senders_stay_under_300_mb(secure: bool, tmp_path: Path) -> None:
    async with (
        store_that_takes_nothing() as endpoint,
        ingest_process(slow(endpoint), tmp_path) as (process, ports),
    ):
        port, tls = ports[secure], client_context(tmp_path) if secure else None
        before = resident(process.pid)
        began = asyncio.Semaphore(0)
        senders = [asyncio.create_task(send(port, number, began, tls)) for number in range(SENDERS)]
        async with asyncio.timeout(60):
            for _ in range(SENDERS):
                await began.acquire()
        peak = 0
        loop = asyncio.get_running_loop()
        until = loop.time() + 5  # before the first of them have waited too long and are refused
        while loop.time() < until:
            peak = max(peak, resident(process.pid))
            await asyncio.sleep(0.1)
        started = loop.time()
        contexts = [(VERIFICATION, [IMPLICIT])]
        async with connect("127.0.0.1", port, "RQM_PACS", "IMEX", contexts, tls=tls) as echo:
            assert await echo.echo() == 0
        waited = loop.time() - started
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
    print(f"resident {before / MIB:.0f} MiB, at most {peak / MIB:.0f} MiB; C-ECHO in {waited * 1000:.0f} ms")
    assert peak < 300_000_000
    assert waited < 5
