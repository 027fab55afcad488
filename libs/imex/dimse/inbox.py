"""What the peer sent and nobody has taken yet: in order, and bounded by holding the peer back."""

import asyncio
from collections import deque
from typing import NamedTuple

from imex.dimse.pdu import AssociateAccept


class Fragment(NamedTuple):
    """P-DATA indication: a piece of a message; `last` with the last piece of its command or data set."""

    context_id: int
    command: bool
    last: bool
    data: memoryview


class ReleaseRequested(NamedTuple):
    """A-RELEASE indication: answer it with `UpperLayer.respond_release`."""


class ReleaseConfirmed(NamedTuple):
    """A-RELEASE confirmation."""


Indication = Fragment | ReleaseRequested | ReleaseConfirmed | AssociateAccept


class Inbox:
    """A queue of indications for one reader; `window` bounds the bytes in it, give or take one read."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._waiting: deque[Indication] = deque()
        self._bytes = 0
        self._reader: asyncio.Future[None] | None = None
        self._transport: asyncio.ReadTransport | None = None
        self._held_back = False

    def connected(self, transport: asyncio.ReadTransport) -> None:
        """The transport that can be told to stop reading."""
        self._transport = transport

    def put(self, indication: Indication) -> None:
        """Queue an indication and wake the reader."""
        if isinstance(indication, Fragment):
            self._bytes += len(indication.data)
        self._waiting.append(indication)
        self._wake()

    def take(self) -> Indication | None:
        """The oldest indication, None when there is none; lets the peer go on when enough was taken."""
        if not self._waiting:
            return None
        indication = self._waiting.popleft()
        if isinstance(indication, Fragment):
            self._bytes -= len(indication.data)
            if self._held_back and self._bytes <= self._window // 2:
                self._let_go()
        return indication

    async def wait(self) -> None:
        """Wait until something is put or the association has ended."""
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def hold_back(self) -> None:
        """Stop reading when more than the window waits; called when all that was read is put."""
        if self._bytes > self._window and not self._held_back and self._transport is not None:
            self._held_back = True
            self._transport.pause_reading()

    def end(self) -> None:
        """The association has ended: wake the reader, and read on, or the peer's closing would be missed."""
        self._let_go()
        self._wake()

    def _let_go(self) -> None:
        if self._held_back:
            self._held_back = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
