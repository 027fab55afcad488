"""HTTP to servers that others run: bounded, verified, never redirected, and in words when it fails."""

import asyncio
import errno
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from imex.delivery.targets import CannotDeliver
from imex.dimse.tls import TlsFilesInvalid
from imex.outbound import Outbound

_MOST_WAIT_S: Final = 3600.0
"""The longest that a `Retry-After` is honoured."""
_IDLE_S: Final = 15.0

Body = AsyncIterable[bytes | memoryview] | bytes | None


@dataclass(frozen=True, slots=True)
class WebLimits:
    """Seconds and bytes. `stalled_s`: of a request whose body nobody takes."""

    connect_s: float = 10.0
    stalled_s: float = 60.0
    response_s: float = 120.0
    response_bytes: int = 8 << 20


@dataclass(frozen=True, slots=True)
class Answered:
    """A response, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """Without parameters, in small letters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def again_after(self) -> float:
        """Seconds of the `Retry-After` header (RFC 9110 10.2.3), bounded; 0 where there is none."""
        told = self.headers.get("Retry-After", "").strip()
        if told.isascii() and told.isdigit():
            return min(float(told[:9]), _MOST_WAIT_S)
        try:
            left = (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError, OverflowError):
            return 0.0
        return min(max(left, 0.0), _MOST_WAIT_S)


class StreamBroke(Exception):
    """The body of a response does not come to its end, in words."""


class Streamed:
    """A response whose body is still to come."""

    def __init__(self, response: aiohttp.ClientResponse, stalled_s: float) -> None:
        self._response = response
        self._stalled_s = stalled_s
        self.head = Answered(response.status, response.headers, b"")

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises StreamBroke where it stops."""
        content = self._response.content
        while True:
            try:
                async with asyncio.timeout(self._stalled_s):
                    piece = await content.readany()
            except TimeoutError:
                raise StreamBroke(f"nothing came for {self._stalled_s:g} s while it sent") from None
            except (aiohttp.ClientError, OSError) as error:
                raise StreamBroke("the connection was lost while it sent") from error
            if not piece:
                return
            yield piece


class Web:
    """Requests of one process to any number of servers."""

    def __init__(
        self,
        tls: Callable[[], ssl.SSLContext] | None = None,
        limits: WebLimits | None = None,
        outbound: Outbound | None = None,
    ) -> None:
        """`tls` gives the context for https; without it no such server is asked.

        `outbound` says where it may connect to.
        """
        self._tls = tls
        self._outbound = outbound or Outbound()
        self._limits = limits or WebLimits()
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: Body = None
    ) -> Answered:
        """One request, and its whole response, whatever its status.

        Raises:
            CannotDeliver: there was no response; `in_doubt` when the body may have been taken all the same.
            Exception: what `body` raises.
        """
        secure = self._context(url)
        sending = None if body is None or isinstance(body, bytes) else _Sending(body)
        try:
            async with asyncio.timeout(self._limits.connect_s + self._limits.stalled_s) as deadline:
                if sending is not None:
                    sending.deadline, sending.limits = deadline, self._limits
                else:
                    deadline.reschedule(_in(self._limits.connect_s + self._limits.response_s))
                async with self._open().request(
                    method,
                    url,
                    headers={"Accept-Encoding": "identity", **(headers or {})},
                    data=sending.pieces() if sending is not None else body,
                    ssl=secure,
                    allow_redirects=False,
                ) as response:
                    deadline.reschedule(_in(self._limits.stalled_s))
                    return Answered(response.status, response.headers, await self._whole(response))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if sending is not None and sending.failure is not None:
                raise sending.failure from None
            in_doubt = sending is not None and sending.begun
            raise CannotDeliver(f"{_place(url)}: {self._words(error, sending)}", in_doubt=in_doubt) from error

    @asynccontextmanager
    async def streamed(self, url: str, headers: Mapping[str, str]) -> AsyncIterator["Streamed"]:
        """GET: the response while its body comes; nothing of it is kept.

        Raises:
            CannotDeliver: there is no response, or its body stops coming.
        """
        secure = self._context(url)
        limits = self._limits
        try:
            async with asyncio.timeout(limits.connect_s + limits.response_s) as deadline:
                async with self._open().get(
                    url,
                    headers={"Accept-Encoding": "identity", **headers},
                    ssl=secure,
                    allow_redirects=False,
                ) as response:
                    deadline.reschedule(None)
                    yield Streamed(response, limits.stalled_s)
        except StreamBroke as error:
            raise CannotDeliver(f"{_place(url)}: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise CannotDeliver(f"{_place(url)}: {self._words(error, None)}") from error

    async def close(self) -> None:
        """End all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _whole(self, response: aiohttp.ClientResponse) -> bytes:
        """The response's body; what is too long is not read, and says nothing then."""
        found = bytearray()
        try:
            async for piece in response.content.iter_any():
                found += piece
                if len(found) > self._limits.response_bytes:
                    response.close()
                    return b""
        except aiohttp.ClientError:  # the status has come, and counts
            return b""
        return bytes(found)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=_IDLE_S, socket_factory=self._outbound.open_socket
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_s),
                headers={"User-Agent": "imex"},
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _context(self, url: str) -> ssl.SSLContext | bool:
        if urlsplit(url).scheme != "https":
            return True
        if self._tls is None:
            raise CannotDeliver(f"{_place(url)} is asked over TLS, and IMEX_DELIVERY_TLS_CA is not set")
        try:
            return self._tls()
        except TlsFilesInvalid as error:
            raise CannotDeliver(f"TLS cannot be used: {error}") from error

    def _words(self, error: Exception, sending: "_Sending | None") -> str:  # noqa: PLR0911  one for each case
        match error:
            case TimeoutError():
                if sending is None or sending.ended:
                    return f"no answer within {self._limits.response_s:g} s"
                if sending.begun:
                    return f"the server took nothing of the request for {self._limits.stalled_s:g} s"
                return f"no connection within {self._limits.connect_s:g} s"
            case aiohttp.ClientConnectorCertificateError(
                certificate_error=ssl.SSLCertVerificationError() as why
            ):
                return f"the server's certificate: {why.verify_message}"
            case aiohttp.ClientSSLError():
                return "TLS could not be agreed on"
            case aiohttp.ClientConnectorDNSError():
                return "its name is not known"
            case aiohttp.ServerDisconnectedError():
                return "the server closed the connection instead of answering"
            case aiohttp.ClientOSError() | OSError():
                return _system_words(error)
            case aiohttp.ClientResponseError():
                return "the answer is no HTTP"
            case _:
                return "the connection was lost before the answer"


class _Sending:
    """A body on its way out: how far it came, and what broke it."""

    deadline: asyncio.Timeout
    limits: WebLimits

    def __init__(self, body: AsyncIterable[bytes | memoryview]) -> None:
        self._body = body
        self.begun = False
        self.ended = False
        self.failure: Exception | None = None

    async def pieces(self) -> AsyncIterable[bytes | memoryview]:
        try:
            async with aclosing(self._body) as body:  # type: ignore[type-var]
                async for piece in body:
                    self.begun = True
                    self._wait(self.limits.stalled_s)
                    yield piece
        except Exception as error:
            self.failure = error
            raise
        self.ended = True
        self._wait(self.limits.response_s)

    def _wait(self, seconds: float) -> None:
        if not self.deadline.expired():
            self.deadline.reschedule(_in(seconds))


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def _place(url: str) -> str:
    """Whom it is about; paths may name people."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _system_words(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED or isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if error.errno in {errno.ECONNRESET, errno.EPIPE} or error.errno is None:
        return "the connection was lost before the answer"
    return error.strerror or type(error).__name__
