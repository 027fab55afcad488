"""Ingest without its neighbours, to be abused: `python -m tests.integration.abuse_child FOLDER`.

Policy, sinks and limits are ingest's; what is stored and published goes nowhere. Prints its two ports.
"""

import asyncio
import os
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop
from tests.unit.ingest.conftest import make_world

from imex.dimse import Edge, serve
from imex.dimse.tls import server_context
from imex.events import Event
from imex.ingest.handler import IngestPolicy
from imex.local.certificates import Certificates
from imex.storage import Stored, Upload
from imex.storage.port import Buffer
from imex.testing.storage import MemoryStore

PUT_S, SEND_S = 0.003, 0.001


class Nowhere(MemoryStore):
    """Takes everything, as fast as a good store, and keeps nothing."""

    async def put(
        self, key: str, data: Buffer, metadata: Mapping[str, str] | None = None, sha256: str | None = None
    ) -> Stored:
        """Take the time."""
        await asyncio.sleep(PUT_S)
        return Stored(key, len(data), sha256 or "")

    def open_put(self, key: str, metadata: Mapping[str, str] | None = None) -> Upload:
        """An upload to nowhere."""
        return _Upload(key)


class _Upload:
    def __init__(self, key: str) -> None:
        self._key = key

    async def write(self, chunk: Buffer) -> None:
        await asyncio.sleep(0)

    async def commit(self) -> Stored:
        await asyncio.sleep(PUT_S)
        return Stored(self._key, 0, "")

    async def abort(self) -> None:
        await asyncio.sleep(0)


class Background:
    """Forgets events and runs chores."""

    def __init__(self) -> None:
        self._chores: set[asyncio.Task[None]] = set()

    def offer(self, event: Event[Any]) -> None:
        """Nobody waits for it."""

    def spawn(self, chore: Coroutine[Any, Any, None]) -> None:
        """Run it."""
        task = asyncio.get_running_loop().create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


async def publish(_: Event[Any]) -> None:
    """As a broker that is well."""
    await asyncio.sleep(SEND_S)


async def serving(folder: Path) -> None:
    """Serve on both ports until killed."""
    certificates = Certificates(folder)
    pair = certificates.server()
    context = server_context(pair.certificate, pair.key, certificates.ca)
    around = replace(make_world().around, store=Nowhere(), publish=publish, background=Background())
    edge = Edge(tls_port=0, tls=lambda: context)
    acceptor = await serve("127.0.0.1", 0, IngestPolicy(around), edge=edge)
    print(acceptor.port, acceptor.tls_port, flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads what is logged to it
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serving(Path(sys.argv[1])))
