"""Ingest as a process of its own, for tests that look at it from outside or kill it."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("ingest_child.py")


@asynccontextmanager
async def ingest_process(
    groups: Mapping[str, Any], folder: Path
) -> AsyncIterator[tuple[Process, tuple[int, int]]]:
    """The process and its two ports, plain and TLS. `groups`: settings; `folder`: for its certificates."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(CHILD), json.dumps(groups), str(folder)), stdout=PIPE
    )
    try:
        assert process.stdout is not None
        lines = process.stdout
        async with asyncio.timeout(60):
            while not (line := await lines.readline()).replace(b" ", b"").strip().isdigit():
                assert line
        drain = asyncio.create_task(lines.read())
        plain, tls = map(int, line.split())
        yield process, (plain, tls)
        drain.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
