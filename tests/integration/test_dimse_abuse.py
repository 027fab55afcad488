"""What strangers do to an open port, with legitimate traffic beside it unharmed and memory flat."""

import asyncio
import contextlib
import os
import random
import struct
import time

import psutil
import pytest
import uvloop

from imex.dimse import Limits, Reject, connect
from imex.dimse.pdu import PduType
from imex.testing.dimse import DimseRecorder, acceptor
from imex.testing.raw_peer import RawPeer

VERIFICATION = [("1.2.840.10008.1.1", ["1.2.840.10008.1.2"])]
MIB = 1024 * 1024


pytestmark = [
    pytest.mark.filterwarnings('ignore:Overriding the "event_loop_policy" fixture'),
    pytest.mark.alone,
]


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Everything on asyncio's own loop and on the one that the services run on."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


async def echo_seconds(port: int) -> float:
    """How long a whole C-ECHO takes, association and release included."""
    started = time.monotonic()
    async with connect("127.0.0.1", port, "A", "B", VERIFICATION) as association:
        assert await association.echo() == 0
    return time.monotonic() - started


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("16030100a5010000a10303") + os.urandom(160),
    "4 GiB of data": struct.pack(">BxI", 4, 0xFFFFFFFF) + bytes(1000),
    "4 GiB of association": struct.pack(">BxI", 1, 0xFFFFFFFF) + bytes(1000),
    "an empty association": struct.pack(">BxI", 1, 0),
    "10,000 sub-items": struct.pack(">BxI", 1, 68 + 40_004)
    + struct.pack(">H2x16s16s32x", 1, b"B".ljust(16), b"A".ljust(16))
    + struct.pack(">BxH", 0x50, 40_000)
    + struct.pack(">BxH", 0x99, 0) * 10_000,
    "nothing": b"",
}


@pytest.mark.parametrize("kind", GARBAGE)
async def test_garbage_is_answered_with_an_abort_and_harms_nobody(kind: str) -> None:
    recorder = DimseRecorder()
    async with acceptor(recorder, Limits(artim_s=0.3)) as listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        writer.write(GARBAGE[kind])
        assert await echo_seconds(listening.port) < 2
        async with asyncio.timeout(5):
            answer = await reader.read()
        assert answer == (b"" if kind == "nothing" else bytes.fromhex("07000000000400000000"))
        writer.close()
        assert len(recorder.requests) == 1


async def test_random_bytes_never_stop_the_acceptor() -> None:
    recorder = DimseRecorder()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with acceptor(recorder, Limits(artim_s=0.2)) as listening:

        async def once() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
            head = struct.pack(">BxI", chance.randrange(9), chance.choice((0, 4, 100, 5000, 2**31)))
            writer.write(head + chance.randbytes(chance.randrange(3000)))
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionError):
                    await reader.read()
            writer.close()

        await asyncio.gather(*(once() for _ in range(100)))
        assert await echo_seconds(listening.port) < 2


async def test_hundreds_of_silent_connections_cost_little_and_are_ended() -> None:
    recorder = DimseRecorder()
    before = psutil.Process().memory_info().rss
    async with acceptor(recorder, Limits(artim_s=2)) as listening:
        silent = [await asyncio.open_connection("127.0.0.1", listening.port) for _ in range(400)]
        for _, writer in silent[:200]:
            writer.write(struct.pack(">BxI", 1, 200_000))  # announces a lot, sends nothing of it
        assert await echo_seconds(listening.port) < 2
        assert psutil.Process().memory_info().rss - before < 60 * MIB
        async with asyncio.timeout(15):
            for reader, writer in silent:
                assert await reader.read() == b""
                writer.close()
        assert listening.connections <= 1


async def test_beyond_the_limit_a_connection_that_asks_for_nothing_gives_way() -> None:
    recorder = DimseRecorder()
    async with acceptor(recorder, Limits(connections=3)) as listening:
        waiting = [await asyncio.open_connection("127.0.0.1", listening.port) for _ in range(3)]
        assert await echo_seconds(listening.port) < 2
        reading = [asyncio.create_task(reader.read()) for reader, _ in waiting]
        ended, others = await asyncio.wait(reading, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert ended
        for task in others:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        for _, writer in waiting:
            writer.close()


async def test_peers_that_were_rejected_and_stay_keep_nobody_out() -> None:
    recorder = DimseRecorder(
        on_admit=lambda asked: Reject.calling_ae_not_recognised("") if asked.calling_ae == "NOBODY" else None
    )
    async with acceptor(recorder, Limits(connections=3)) as listening, contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            stranger = await RawPeer.connected(listening.port)
            stack.callback(stranger.writer.close)
            stranger.request(calling_ae="NOBODY", called_ae="B")
            assert (await stranger.pdu())[0] == PduType.ASSOCIATE_RJ
        assert listening.connections == 3
        assert await echo_seconds(listening.port) < 2
        assert listening.connections <= 3


async def test_associations_that_are_under_way_never_give_way() -> None:
    recorder = DimseRecorder()
    async with acceptor(recorder, Limits(connections=2)) as listening, contextlib.AsyncExitStack() as stack:
        peers = [await RawPeer.associated(listening.port) for _ in range(2)]
        for peer in peers:
            stack.callback(peer.writer.close)
        refused = await RawPeer.connected(listening.port)
        assert await refused.pdu() == (0, b"")
        refused.writer.close()
        assert listening.associations == 2


async def test_a_half_closed_connection_is_ended() -> None:
    recorder = DimseRecorder()
    async with acceptor(recorder) as listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        writer.write_eof()
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        assert await echo_seconds(listening.port) < 2
