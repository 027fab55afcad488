"""The S3 adapter against a server that answers whatever a test wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from imex.settings import S3Settings
from imex.storage import (
    MinioStore,
    ObjectNotFound,
    StoreFull,
    StoreRefused,
    StoreTuning,
    StoreUnavailable,
)
from imex.storage.sigv4 import EMPTY_SHA256, Signer

Answer = bytes | None | Callable[[asyncio.StreamWriter], Awaitable[None]]
QUICK = StoreTuning(connect_s=1.0, request_s=0.5, stall_s=0.2, patience_s=0.3)


def answer(status: int, body: bytes = b"", *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def error(status: int, code: str) -> bytes:
    return answer(status, f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode())


class Server:
    """Gives one answer after another; None closes the connection without one."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = answers
        self.connections = 0
        self.heads: list[str] = []
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                given = self.answers.pop(0)
                if given is None:
                    break
                if callable(given):
                    await given(writer)
                else:
                    writer.write(given)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def served(*answers: Answer, tuning: StoreTuning = QUICK) -> AsyncIterator[tuple[MinioStore, Server]]:
    server = Server(list(answers))
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    store = MinioStore(
        S3Settings.model_validate(
            {"endpoint": f"http://127.0.0.1:{port}", "access_key": "ak", "secret_key": "sk"}
        ),
        tuning=tuning,
    )
    try:
        yield store, server
    finally:
        await store.close()
        listening.close()


async def test_connections_are_kept() -> None:
    async with served(answer(200), answer(200), answer(200)) as (store, server):
        for _ in range(3):
            await store.put("k", b"data", {"a": "b"})
        assert server.connections == 1
        assert server.bodies == [b"data"] * 3
        assert "x-amz-meta-a: b\r\n" in server.heads[0]
        assert "authorization: AWS4-HMAC-SHA256 Credential=ak/" in server.heads[0]


async def test_a_connection_that_the_server_closed_meanwhile_costs_nothing_but_a_new_one() -> None:
    async with served(answer(200), None, answer(200)) as (store, server):
        await store.put("k", b"1")
        await store.put("k", b"2")
        assert server.connections == 2


@pytest.mark.parametrize("given", [error(503, "SlowDown"), error(500, "InternalError"), error(429, "")])
async def test_a_store_that_asks_to_slow_down_is_tried_again(given: bytes) -> None:
    async with served(given, answer(200)) as (store, _):
        assert (await store.put("k", b"1")).size == 1


async def test_a_store_that_stays_overloaded_is_unavailable() -> None:
    async with served(*[error(503, "SlowDown")] * 50) as (store, _):
        with pytest.raises(StoreUnavailable, match="503 SlowDown"):
            await store.put("k", b"1")


@pytest.mark.parametrize(
    "given", [error(507, "XMinioStorageFull"), error(507, ""), error(400, "QuotaExceeded")]
)
async def test_a_full_store_is_told_apart(given: bytes) -> None:
    async with served(given) as (store, _):
        with pytest.raises(StoreFull):
            await store.put("k", b"1")


async def test_a_refusal_is_not_tried_again() -> None:
    async with served(error(403, "AccessDenied"), answer(200)) as (store, server):
        with pytest.raises(StoreRefused, match="AccessDenied"):
            await store.put("k", b"1")
        assert len(server.heads) == 1


async def test_a_missing_object_is_not_found() -> None:
    async with served(error(404, "NoSuchKey"), answer(404, b"")) as (store, _):
        with pytest.raises(ObjectNotFound):
            await store.get("k")
        with pytest.raises(ObjectNotFound):
            await store.get("k")


async def test_nobody_listening_is_unavailable() -> None:
    store = MinioStore(S3Settings.model_validate({"endpoint": "http://127.0.0.1:9"}), tuning=QUICK)
    async with asyncio.timeout(5):
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await store.put("k", b"1")


async def test_a_silent_store_is_unavailable_within_the_bound() -> None:
    async def silence(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)

    async with asyncio.timeout(2), served(silence) as (store, _):
        with pytest.raises(StoreUnavailable, match="in time"):
            await store.put("k", b"1")


async def test_a_stream_that_stalls_or_breaks_is_unavailable() -> None:
    async def stall(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await asyncio.sleep(1)

    async with served(stall) as (store, _):
        with pytest.raises(StoreUnavailable):
            _ = [piece async for piece in store.stream("k")]
    broken = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"

    async def close(writer: asyncio.StreamWriter) -> None:
        writer.write(broken)
        writer.close()

    async with served(close) as (store, _):
        with pytest.raises(StoreUnavailable, match="5 bytes early"):
            _ = [piece async for piece in store.stream("k")]


async def test_chunked_answers_and_interim_answers_are_read() -> None:
    body = b"4;x=y\r\nabcd\r\n3\r\nefg\r\n0\r\nTrailer: 1\r\n\r\n"
    chunked = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    async with served(chunked, answer(200, b"x")) as (store, server):
        assert await store.get("k") == b"abcdefg"
        assert await store.get("k") == b"x"
        assert server.connections == 1


@pytest.mark.parametrize("given", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"x" * 300_000])
async def test_what_is_no_http_is_unavailable(given: bytes) -> None:
    async with served(*[given] * 50) as (store, _):
        with pytest.raises(StoreUnavailable):
            await store.get("k")


async def test_an_error_found_while_completing_an_upload_is_an_error() -> None:
    begun = answer(200, b"<R><UploadId>u1</UploadId></R>")
    part = answer(200, b"", "ETag: e1")
    late = answer(200, b"<?xml version='1.0'?><Error><Code>InternalError</Code></Error>")
    async with served(begun, part, part, late, tuning=StoreTuning(part_bytes=10)) as (store, _):
        upload = store.open_put("k")
        await upload.write(bytes(15))
        with pytest.raises(StoreRefused, match="InternalError"):
            await upload.commit()


async def test_a_failing_part_fails_the_upload_and_abort_withdraws_it() -> None:
    begun = answer(200, b"<R><UploadId>u1</UploadId></R>")
    async with served(begun, error(403, "AccessDenied"), answer(204), tuning=StoreTuning(part_bytes=10)) as (
        store,
        server,
    ):
        upload = store.open_put("k")
        await upload.write(bytes(15))
        with pytest.raises(StoreRefused):
            await upload.commit()
        await upload.abort()
        assert server.heads[-1].startswith("DELETE /payloads/k?uploadId=u1 ")


@pytest.mark.parametrize("endpoint", ["", "127.0.0.1:9000", "ftp://x"])
async def test_an_endpoint_that_is_no_url_is_an_error(endpoint: str) -> None:
    with pytest.raises(ValueError, match="must be http"):
        MinioStore(S3Settings.model_validate({"endpoint": endpoint}))


def test_signatures_are_those_of_the_published_example() -> None:
    """AWS, "Signature Calculations for the Authorization Header", GET Object."""
    signer = Signer(
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "us-east-1",
        "examplebucket.s3.amazonaws.com",
    )
    headers = signer.headers(
        "GET",
        "/test.txt",
        {},
        {"range": "bytes=0-9"},
        content_sha256=EMPTY_SHA256,
        now=datetime(2013, 5, 24, tzinfo=UTC),
    )
    assert headers["authorization"].endswith(
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
