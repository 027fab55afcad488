"""The way to ingest: a store transaction is streamed on, with a statement of who sends."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import aiohttp
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from imex.dicomweb.outcome import RETRY_AFTER_S, StowOutcome
from imex.dicomweb.statement import Statement, sign
from imex.portal.problems import Problem
from imex.portal.settings import StowSettings
from imex.runtime.health import Health

log = logging.getLogger(__name__)

_CONNECT_S = 5.0
_ANSWER_S = 120.0
"""From the last byte on; ingest's own bound for what it still has under way is far below."""
_PAUSE_S = 35.0
"""A sender that is silent for so long; ingest's own bound is a little less."""
_PIECE_BYTES = 64 * 1024
_MOST_ANSWER_BYTES = 32 * 1024 * 1024


class Ingest:
    """A part of the portal: connections to ingest."""

    name = "ingest"

    def __init__(self, settings: StowSettings) -> None:
        self._url = settings.url.rstrip("/")
        self._secret = settings.secret.get_secret_value()
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make ready; connections are made as they are needed."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_ANSWER_S)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=10),
            timeout=timeout,
            trust_env=False,
            auto_decompress=False,
        )

    async def stop(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def health(self) -> Health:
        """Nothing of its own to say: whether ingest is there shows when something is sent."""
        return Health()

    async def store(self, statement: Statement, address: str, body: AsyncIterator[bytes]) -> StowOutcome:
        """Hand one request on. Raises Problem with what there is to say where nothing was stored."""
        if self._session is None:
            raise _away()
        headers = {
            "Authorization": f"Bearer {sign(statement, self._secret, time.time())}",
            "Content-Type": statement.content_type,
            "X-Imex-Sender": address,
        }
        path = f"/studies/{statement.study}" if statement.study else "/studies"
        steady = _steady(body)
        try:
            async with self._session.post(self._url + path, data=steady, headers=headers) as answer:
                told = await answer.content.read(_MOST_ANSWER_BYTES)
                while not answer.content.at_eof() and len(told) < _MOST_ANSWER_BYTES:
                    told += await answer.content.read(_MOST_ANSWER_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error.__cause__, ClientDisconnect):
                raise Problem(400, "The body ended before its end.") from error
            log.warning("ingest cannot be reached: %s", type(error).__name__)
            raise _away() from error
        finally:
            await steady.aclose()
        if answer.status != 200:
            raise _refused(answer.status, told)
        try:
            return StowOutcome.model_validate_json(told)
        except ValidationError:
            log.exception("ingest answered something else")
            raise _away() from None


async def _steady(body: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The body in pieces that a proxy need not hold, given up where nothing comes."""
    while True:
        try:
            async with asyncio.timeout(_PAUSE_S):
                piece = await anext(body)
        except StopAsyncIteration:
            return
        for start in range(0, len(piece), _PIECE_BYTES):
            yield piece[start : start + _PIECE_BYTES]


def _away() -> Problem:
    words = "Ingest cannot be reached, or went away. Send all of it again: nothing is stored twice."
    return Problem(503, words, headers={"Retry-After": str(RETRY_AFTER_S)})


def _refused(status: int, told: bytes) -> Problem:
    """Ingest's own words, for what is the sender's to know."""
    try:
        detail = str(TypeAdapter(dict[str, Any]).validate_json(told)["detail"])
    except (ValidationError, KeyError):
        detail = ""
    if status in {400, 403, 408, 415} and detail:
        return Problem(status, detail)
    if status == 503 and detail:
        return Problem(status, detail, headers={"Retry-After": str(RETRY_AFTER_S)})
    log.error("ingest refused a store transaction: %s %s", status, detail)
    return _away()
