"""Answers that are made while they are read: their room, their reader's patience, and how they ended."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Final

import anyio
import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from imex.portal.archive import Broken, Gone, joined
from imex.portal.problems import Problem
from imex.storage import StoreError

READER_S: Final = 60.0
"""A reader takes a piece within so many seconds, or is left: it would keep the place of another."""
WENT_AWAY: Final = "the reader went away"
STOPPED: Final = "the reader stopped reading"
_STORE_FAILED: Final = "the object store failed"
_STOPPING: Final = "the portal is stopping"
_FAILED: Final = "something went wrong on our side"
_log = structlog.get_logger(__name__)

BrokenOff = Callable[[str], Awaitable[None]]
"""Keeps that an answer did not come to its end, and why."""


async def begun(pieces: AsyncGenerator[bytes, None], broken_off: BrokenOff) -> bytes:
    """The first piece, so that what is wrong at once is an answer of its own, and is kept all the same.

    Raises:
        Problem: 410 where it is gone, 500 where it is not what it should be.
        StoreError: the store failed.
    """
    try:
        return await anext(pieces, b"")
    except Gone as error:
        await broken_off(str(error))
        raise Problem(410, f"It cannot be handed out: {error}. Ask for the study again.") from error
    except Broken as error:
        await broken_off(str(error))
        raise Problem(500, f"It cannot be handed out: {error}. Tell the network's administration.") from error
    except StoreError:
        await broken_off(_STORE_FAILED)
        raise


class HandedOut(StreamingResponse):
    """An answer of several pieces, which gives its room back and tells how it ended, whoever ended it."""

    def __init__(  # noqa: PLR0917  what an answer is made of
        self,
        first: bytes,
        pieces: AsyncGenerator[bytes, None],
        room: ExitStack,
        broken_off: BrokenOff,
        headers: Mapping[str, str],
        reader_s: float = READER_S,
    ) -> None:
        """`first` comes before `pieces`; `room` is given back at the end."""
        super().__init__(joined(first, pieces), headers=headers)
        self._pieces = pieces
        self._room = room
        self._broken_off = broken_off
        self._reader_s = reader_s
        self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        why = _FAILED

        async def paced(message: Message) -> None:
            nonlocal why
            with anyio.move_on_after(self._reader_s) as patience:
                await send(message)
            if patience.cancelled_caught:
                why = STOPPED
                raise ClientDisconnect
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self._ended = True

        try:
            await super().__call__(scope, receive, paced)
            why = WENT_AWAY  # unless all of it was sent
        except ClientDisconnect:
            pass  # nobody is there to be told
        except asyncio.CancelledError:
            why = _STOPPING
            raise
        except Broken as error:
            why = str(error)
            raise
        except StoreError:
            why = _STORE_FAILED
            raise
        finally:
            # a server that is told to stop, and a reader that went away, cancel whatever is waited for here
            with anyio.CancelScope(shield=True):
                await self._over(why)

    async def _over(self, why: str) -> None:
        try:
            await self._pieces.aclose()
            if not self._ended:
                _log.warning("answer broken off", reason=why)
                await self._broken_off(why)
        finally:
            self._room.close()
