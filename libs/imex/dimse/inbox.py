"""What the peer sent and nobody has taken yet: in order, and bounded by holding the peer back.

A queued piece costs some hundred bytes whatever it carries, and the peer chooses what that is: small pieces
are gathered, and all are charged for what they cost.
"""

import asyncio
from collections import deque
from typing import Final, NamedTuple

from imex.dimse.errors import ProtocolError
from imex.dimse.limits import Limits
from imex.dimse.memory import ReceiveMemory, Unshared
from imex.dimse.pdu import AssociateAccept

SMALL: Final = 512
GATHERED: Final = 16 * 1024
PIECE_COST: Final = 512


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
    """A queue of indications for one reader; the memory's window bounds it, give or take one read."""

    def __init__(self, limits: Limits, memory: ReceiveMemory | None = None) -> None:
        self._memory = memory or Unshared(limits.receive_window)
        self._most = limits.indications
        self._waiting: deque[Indication] = deque()
        self._bytes = 0
        self._gathered: bytearray | None = None  # younger than everything in `_waiting`
        self._gathered_of = (0, False)
        self._reader: asyncio.Future[None] | None = None
        self._transport: asyncio.ReadTransport | None = None
        self._held_back = False

    def connected(self, transport: asyncio.ReadTransport) -> None:
        """The transport that can be told to stop reading."""
        self._transport = transport

    def put(self, indication: Indication) -> None:
        """Queue an indication and wake the reader."""
        if self._gathered is not None:
            self._close_gathered(last=False)
        self._waiting.append(indication)
        self._wake()

    def put_fragment(self, context_id: int, command: bool, last: bool, data: memoryview) -> None:
        """Queue a piece of a message. Raises ProtocolError when the peer has cut too many of them."""
        size = len(data)
        gathered = self._gathered
        if gathered is not None:
            if self._gathered_of == (context_id, command) and size < SMALL:
                gathered += data
                self._bytes += size
                if last or len(gathered) >= GATHERED:
                    self._close_gathered(last=last)
                self._wake()
                return
            self._close_gathered(last=False)
        if size < SMALL and not last:
            self._gathered, self._gathered_of = bytearray(data), (context_id, command)
            self._bytes += size + PIECE_COST
        else:
            self._bytes += size + PIECE_COST
            self._add(Fragment(context_id, command, last, data))
        self._wake()

    def _close_gathered(self, *, last: bool) -> None:
        gathered, self._gathered = self._gathered, None
        assert gathered is not None
        self._add(Fragment(*self._gathered_of, last, memoryview(gathered)))

    def _add(self, fragment: Fragment) -> None:
        if len(self._waiting) >= self._most:
            raise ProtocolError(f"more than {self._most} fragments at once")
        self._waiting.append(fragment)

    def take(self) -> Indication | None:
        """The oldest indication, None when there is none; lets the peer go on when enough was taken."""
        if not self._waiting:
            if self._gathered is None:
                return None
            self._close_gathered(last=False)
        indication = self._waiting.popleft()
        if isinstance(indication, Fragment):
            self._bytes -= len(indication.data) + PIECE_COST
            if self._held_back and self._bytes <= self._memory.window // 2:
                self._let_go()
        return indication

    @property
    def empty(self) -> bool:
        """Whether there is nothing to take."""
        return not self._waiting and self._gathered is None

    async def wait(self) -> None:
        """Wait until something is put or the association has ended."""
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def hold_back(self) -> None:
        """Stop reading when more than the window waits; called when all that was read is put."""
        if not self._held_back and self._bytes > self._memory.window and self._transport is not None:
            self._held_back = True
            self._transport.pause_reading()

    def end(self) -> None:
        """The association has ended: wake the reader, and read on, or the peer's closing would be missed."""
        self._let_go()
        self._wake()

    def clear(self) -> None:
        """Nobody will take anything any more: let go of the memory at once, not when the collector comes."""
        self._waiting.clear()
        self._gathered = None
        self._bytes = 0

    def _let_go(self) -> None:
        if self._held_back:
            self._held_back = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
