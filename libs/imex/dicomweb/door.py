"""The way to ingest: a store transaction is streamed on, with a statement of whose it is."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import aiohttp
from pydantic import TypeAdapter, ValidationError

from imex.dicomweb.outcome import RETRY_AFTER_S, StowOutcome
from imex.dicomweb.statement import Statement, sign

log = logging.getLogger(__name__)

_CONNECT_S = 5.0
_ANSWER_S = 120.0
"""From the last byte on; ingest's own bound for what it still has under way is far below."""
_PAUSE_S = 35.0
"""A sender that is silent for so long; ingest's own bound is a little less."""
_PIECE_BYTES = 64 * 1024
_MOST_ANSWER_BYTES = 32 * 1024 * 1024
AWAY = "Ingest cannot be reached, or went away. Send all of it again: nothing is stored twice."


class NotTaken(Exception):
    """Ingest has taken nothing that could be named: a status of HTTP, and words for who sent it."""

    def __init__(self, status: int, words: str, retry_after_s: int | None = None) -> None:
        super().__init__(words)
        self.status = status
        self.retry_after_s = retry_after_s


class BodyBroke(Exception):
    """The body ended with an error before its end, which is the cause."""


class Door:
    """Connections to ingest's listener for store transactions."""

    def __init__(self, url: str, secret: str) -> None:
        """`secret` is what ingest believes; nothing is opened yet."""
        self._url = url.rstrip("/")
        self._secret = secret
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Let go of connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def store(self, statement: Statement, address: str, body: AsyncIterator[bytes]) -> StowOutcome:
        """Hand one request on; `address` is the sender's, for the audit record.

        Raises:
            NotTaken: nothing was stored, or nobody knows what; then all of it may be sent again.
            BodyBroke: what `body` raised is its cause; what was stored stays.
        """
        headers = {
            "Authorization": f"Bearer {sign(statement, self._secret, time.time())}",
            "Content-Type": statement.content_type,
            "X-Imex-Sender": address,
        }
        path = f"/studies/{statement.study}" if statement.study else "/studies"
        sending = _Steady(body)
        pieces = sending.pieces()
        try:
            async with self._opened().post(self._url + path, data=pieces, headers=headers) as answer:
                told = await answer.content.read(_MOST_ANSWER_BYTES)
                while not answer.content.at_eof() and len(told) < _MOST_ANSWER_BYTES:
                    told += await answer.content.read(_MOST_ANSWER_BYTES)
        except Exception as error:
            if sending.failure is not None:
                raise BodyBroke from sending.failure
            if not isinstance(error, aiohttp.ClientError | TimeoutError | OSError):
                raise
            log.warning("ingest cannot be reached: %s", type(error).__name__)
            raise _away() from error
        finally:
            await pieces.aclose()
        if answer.status != 200:
            raise _refused(answer.status, told)
        try:
            return StowOutcome.model_validate_json(told)
        except ValidationError:
            log.exception("ingest answered something else")
            raise _away() from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_ANSWER_S)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=10),
                timeout=timeout,
                trust_env=False,
                auto_decompress=False,
            )
        return self._session


class _Steady:
    """The body in pieces that a proxy need not hold, given up where nothing comes."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self.failure: BaseException | None = None

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        while True:
            try:
                async with asyncio.timeout(_PAUSE_S):
                    piece = await anext(self._body)
            except StopAsyncIteration:
                return
            except Exception as error:
                self.failure = error
                raise
            for start in range(0, len(piece), _PIECE_BYTES):
                yield piece[start : start + _PIECE_BYTES]


def _away() -> NotTaken:
    return NotTaken(503, AWAY, RETRY_AFTER_S)


def _refused(status: int, told: bytes) -> NotTaken:
    """Ingest's own words, for what is the sender's to know."""
    try:
        detail = str(TypeAdapter(dict[str, Any]).validate_json(told)["detail"])
    except (ValidationError, KeyError):
        detail = ""
    if status in {400, 403, 408, 415} and detail:
        return NotTaken(status, detail)
    if status == 503 and detail:
        return NotTaken(status, detail, RETRY_AFTER_S)
    log.error("ingest refused a store transaction: %s %s", status, detail)
    return _away()
