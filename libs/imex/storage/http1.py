"""A small HTTP/1.1 client (RFC 9112) on keep-alive connections; a general one costs more an image."""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from imex.storage.wire import Wire, connected

_PIECE: Final = 256 * 1024
_MAX_HEAD: Final = 64 * 1024
_MAX_BODY: Final = 256 * 1024 * 1024
_NO_BODY: Final = frozenset({204, 304})


class HttpBroken(ConnectionError):
    """The connection ended or the peer's bytes are no HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request with a body of known length."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Sequence[bytes | bytearray | memoryview] = ()

    def head(self) -> bytes:
        """Request line and fields."""
        length = sum(len(part) for part in self.body)
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines.append(f"content-length: {length}\r\n\r\n")
        return "\r\n".join(lines).encode("latin-1")


@dataclass(slots=True)
class Response:
    """Status and fields of an answer; its body is read from the connection."""

    status: int
    headers: dict[str, str]
    connection: "Connection"
    bodiless: bool = False

    @property
    def length(self) -> int | None:
        """Content-Length; None when the body comes in chunks."""
        if self.bodiless:
            return 0
        if "chunked" in self.headers.get("transfer-encoding", ""):
            return None
        return int(self.headers.get("content-length", "0"))

    async def read(self) -> bytes:
        """The whole body."""
        return bytes(await self.load())

    async def load(self) -> bytes | bytearray:
        """The whole body, received where it stays."""
        length = self.length
        if length is None:
            return b"".join([part async for part in self.pieces()])
        if length > _MAX_BODY:
            raise HttpBroken("the answer is longer than allowed")
        body = await self.connection.whole(length)
        self._over()
        return body

    async def pieces(self, stall_s: float | None = None) -> AsyncIterator[bytes]:
        """The body in pieces, each within ``stall_s``; the connection may be reused once it is through."""
        length = self.length
        if length is not None:
            async for piece in self.connection.exactly(length, stall_s):
                yield piece
        else:
            total = 0
            while size := await self.connection.chunk_size(stall_s):
                total += size
                if total > _MAX_BODY:
                    raise HttpBroken("the answer is longer than allowed")
                async for piece in self.connection.exactly(size, stall_s):
                    yield piece
                await self.connection.line(stall_s)
            while await self.connection.line(stall_s):
                pass
        self._over()

    def _over(self) -> None:
        self.connection.idle = self.headers.get("connection", "").lower() != "close"


class Connection:
    """One TCP or TLS connection. ``idle`` says that the last exchange is over and another may follow."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.idle = True

    @property
    def alive(self) -> bool:
        """Whether it can take a request, as far as is known."""
        return self.idle and self._wire.usable

    async def exchange(self, request: Request) -> Response:
        """Send a request, read the head of its answer.

        Raises:
            HttpBroken: the connection ended before an answer, or the answer is no HTTP.
        """
        self.idle = False
        with contextlib.suppress(ConnectionError):  # a peer that refuses early answers before it closes
            self._wire.write(request.head())
            for part in request.body:
                self._wire.write(part)
                await self._wire.drain()
        while True:
            response = self._parse(await self._read_head(), request.method)
            if response.status >= 200:
                return response

    async def _read_head(self) -> bytes:
        try:
            head = await self._wire.until(b"\r\n\r\n", _MAX_HEAD)
        except ValueError as error:
            raise HttpBroken("the head of the answer is too long") from error
        if head is None:
            raise HttpBroken("the connection ended before an answer")
        return head

    def _parse(self, head: bytes, method: str) -> Response:
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise HttpBroken("the answer is not HTTP/1.1")
        status = int(rest[:3])
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return Response(status, headers, self, bodiless=method == "HEAD" or status in _NO_BODY)

    async def exactly(self, length: int, stall_s: float | None) -> AsyncIterator[bytes]:
        """That many bytes, in pieces."""
        while length:
            async with asyncio.timeout(stall_s):
                piece = await self.whole(min(length, _PIECE))
            length -= len(piece)
            yield bytes(piece)

    async def whole(self, length: int) -> bytearray:
        """That many bytes at once."""
        body = bytearray(length)
        came = await self._wire.fill(memoryview(body)) if length else 0
        if came < length:
            raise HttpBroken(f"the answer ended {length - came} bytes early")
        return body

    async def line(self, stall_s: float | None) -> bytes:
        """One line without its end."""
        async with asyncio.timeout(stall_s):
            try:
                found = await self._wire.until(b"\n", _MAX_HEAD)
            except ValueError as error:
                raise HttpBroken("a line of the answer is too long") from error
        if found is None:
            raise HttpBroken("the answer ended early")
        return found.rstrip(b"\r\n")

    async def chunk_size(self, stall_s: float | None) -> int:
        """The size of the next chunk; 0 for the last (RFC 9112 section 7.1)."""
        text = (await self.line(stall_s)).partition(b";")[0].strip()
        try:
            return int(text, 16)
        except ValueError:
            raise HttpBroken("a chunk without a size") from None

    def close(self) -> None:
        """Drop the connection at once."""
        self._wire.close()


class Pool:
    """At most ``connections`` connections to one endpoint, kept alive between requests."""

    def __init__(self, endpoint: str, connections: int, connect_s: float) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{endpoint!r} is no http:// or https:// URL of an object store")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname
        self._port = parts.port or (443 if self._tls else 80)
        self._connect_s = connect_s
        self._slots = asyncio.Semaphore(connections)
        self._free: deque[Connection] = deque()
        self.netloc = parts.netloc.rpartition("@")[2]

    @asynccontextmanager
    async def response(self, request: Request, *, fresh: bool = False) -> AsyncIterator[Response]:
        """Send a request and hold its connection until the block ends.

        A kept connection that the peer has closed meanwhile costs one more try on a new one; ``fresh``
        takes a new one at once, for requests that must not be sent twice.

        Raises:
            OSError: no connection, or it broke.
            TimeoutError: no connection within the time.
        """
        async with self._slots:
            connection = None if fresh else self._kept()
            if connection is not None:
                try:
                    answer = await connection.exchange(request)
                except HttpBroken:
                    connection.close()
                    connection = None
                except BaseException:
                    connection.close()
                    raise
            if connection is None:
                connection = await self._open()
                try:
                    answer = await connection.exchange(request)
                except BaseException:
                    connection.close()
                    raise
            try:
                yield answer
            finally:
                if connection.alive:
                    self._free.append(connection)
                else:
                    connection.close()

    def _kept(self) -> Connection | None:
        while self._free:
            connection = self._free.pop()
            if connection.alive:
                return connection
            connection.close()
        return None

    async def _open(self) -> Connection:
        async with asyncio.timeout(self._connect_s):
            return Connection(await connected(self._host, self._port, self._tls))

    def close(self) -> None:
        """Drop the connections that are not in use."""
        while self._free:
            self._free.pop().close()
