"""The receiving end of every system under test: an acceptor that takes everything and keeps nothing.

`python -m benchmarks.receiver PORT` prints a line for each C-STORE: the SOP Instance UID and the moment of
its answer on the machine's monotonic clock, in seconds.
"""

import asyncio
import sys
import time

import uvloop

from imex.dimse import StoreCommand, StoreResponse, serve
from imex.testing.dimse import DimseRecorder


async def receive(port: int) -> None:
    """Serve until the parent closes standard input."""

    async def committed(command: StoreCommand) -> StoreResponse:
        sys.stdout.write(f"{command.sop_instance_uid} {time.monotonic():.6f}\n")
        sys.stdout.flush()
        return StoreResponse()

    acceptor = await serve("127.0.0.1", port, DimseRecorder(keep=False, on_commit=committed))
    try:
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await acceptor.close()


if __name__ == "__main__":
    uvloop.run(receive(int(sys.argv[1])))
