"""The byte stream under the object store's client: with and without TLS, on both event loops."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from imex.dimse.tls import client_context
from imex.local.certificates import Certificates
from imex.storage.wire import Wire, connected

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BODY = bytes(range(256)) * 4096

pytestmark = pytest.mark.filterwarnings('ignore:Overriding the "event_loop_policy" fixture')


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


@pytest.fixture(params=["plain", "tls"])
def secured(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext] | None:
    if request.param == "plain":
        return None
    issued = Certificates(tmp_path)
    pair = issued.server()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.certificate, pair.key)
    return server, client_context(issued.ca)


@asynccontextmanager
async def to(serve: Serve, secured: tuple[ssl.SSLContext, ssl.SSLContext] | None) -> AsyncIterator[Wire]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        writer.close()

    server, client = secured or (None, None)
    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server)
    wire = await connected("127.0.0.1", listening.sockets[0].getsockname()[1], client)
    try:
        yield wire
    finally:
        wire.close()
        listening.close()


async def test_heads_and_bodies_come_whole(secured: tuple[ssl.SSLContext, ssl.SSLContext] | None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            await reader.readexactly(3)
            writer.write(b"head\r\n\r\n" + BODY[:1000])
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.write(BODY[1000:])
            await writer.drain()
        await reader.read(1)

    async with to(serve, secured) as wire:
        for _ in range(3):
            wire.write(b"get")
            await wire.drain()
            assert await wire.until(b"\r\n\r\n", 1000) == b"head\r\n\r\n"
            body = bytearray(len(BODY))
            assert await wire.fill(memoryview(body)) == len(BODY)
            assert body == BODY
            assert wire.usable


async def test_much_that_nobody_reads_is_held_back(
    secured: tuple[ssl.SSLContext, ssl.SSLContext] | None,
) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BODY)
        await writer.drain()

    async with to(serve, secured) as wire:
        await asyncio.sleep(0.1)
        assert not wire.usable  # nobody had asked
        first, rest = bytearray(100_000), bytearray(len(BODY) - 100_000)
        assert await wire.fill(memoryview(first)) == len(first)
        await asyncio.sleep(0.05)
        assert await wire.fill(memoryview(rest)) == len(rest)
        assert first + rest == BODY


async def test_an_end_in_between_is_told(secured: tuple[ssl.SSLContext, ssl.SSLContext] | None) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"he")
        await writer.drain()

    async with to(serve, secured) as wire:
        assert await wire.until(b"\r\n\r\n", 1000) is None
        assert await wire.fill(memoryview(bytearray(10))) == 2
        assert not wire.usable


async def test_a_head_without_end_is_refused(secured: tuple[ssl.SSLContext, ssl.SSLContext] | None) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"h" * 100_000)
        await writer.drain()

    async with to(serve, secured) as wire:
        with pytest.raises(ValueError, match="too long"):
            await wire.until(b"\r\n\r\n", 1 << 20)
