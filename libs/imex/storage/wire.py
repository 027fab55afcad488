"""The bytes of one connection: what is asked for is received where it is wanted, without a copy on the way.

`asyncio`'s streams copy a body four times, which costs more CPU than all else that is done with an image.
"""

import asyncio
import ssl
from typing import Final, cast

_BUFFER: Final = 64 * 1024


class Wire(asyncio.BufferedProtocol):
    """A byte stream for one reader and one writer. The peer is held back while nobody reads."""

    def __init__(self) -> None:
        """To be connected by an event loop."""
        self._transport: asyncio.Transport | None = None
        self._own = memoryview(bytearray(_BUFFER))
        self._start = self._end = 0  # of what is in `_own`
        self._into: memoryview | None = None
        self._filled = 0
        self._paused = False
        self._ended = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """The reader's buffer, where it waits with one."""
        if self._into is not None:
            return self._into[self._filled :]
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._own):  # a TLS record may still come although reading is paused
            rest = self._own[self._start : self._end]
            self._own = memoryview(bytearray(len(rest) + _BUFFER))
            self._own[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        return self._own[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes are where `get_buffer` said."""
        if self._into is not None:
            self._filled += nbytes
            if self._filled < len(self._into):
                return
            self._into = None
        else:
            self._end += nbytes
            if self._end - self._start >= _BUFFER:
                self._pause()
        self._wake()

    def eof_received(self) -> bool:
        """The peer sends no more: whoever waits hears of it, and the connection closes."""
        self._ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._ended, self._error = True, exc
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The peer reads slower than we write."""
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """It has caught up."""
        writer, self._writer = self._writer, None
        if writer is not None and not writer.done():
            writer.set_result(None)

    # -- the user's side

    @property
    def usable(self) -> bool:
        """Whether the peer has neither ended it nor sent what nobody asked for."""
        transport = self._transport
        unasked = self._end > self._start
        return not self._ended and not unasked and transport is not None and not transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; raises ConnectionResetError when the connection is gone."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is gone") from self._error
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the peer has read enough for more to be sent."""
        if self._writer is not None:
            await asyncio.shield(self._writer)
        if self._ended:
            raise ConnectionResetError("the connection is gone") from self._error

    async def until(self, mark: bytes, most: int) -> bytes | None:
        """What comes up to and with `mark`; None when the connection ends before.

        Raises:
            ValueError: it is longer than `most` bytes, or than the buffer.
        """
        searched = self._start
        while True:
            found = bytes(self._own[searched : self._end]).find(mark)
            if found >= 0:
                stop = searched + found + len(mark)
                taken = bytes(self._own[self._start : stop])
                self._took(stop)
                return taken
            have = self._end - self._start
            if have >= min(most, _BUFFER):
                raise ValueError("too long")
            if self._ended:
                return None
            self._compact()
            searched = max(self._start, self._end - len(mark) + 1)
            await self._more()

    async def fill(self, target: memoryview) -> int:
        """Receive until `target` is full; how much came, which is less only when the connection has ended."""
        have = min(self._end - self._start, len(target))
        target[:have] = self._own[self._start : self._start + have]
        self._took(self._start + have)
        if have == len(target) or self._ended:
            return have
        self._into, self._filled = target, have
        try:
            await self._more()
            return self._filled
        finally:
            self._into = None

    def close(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _took(self, start: int) -> None:
        self._start = start
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def _compact(self) -> None:
        if self._start:
            rest = bytes(self._own[self._start : self._end])
            self._start, self._end = 0, len(rest)
            self._own[: self._end] = rest

    def _pause(self) -> None:
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    async def _more(self) -> None:
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


async def connected(host: str, port: int, tls: ssl.SSLContext | None) -> Wire:
    """A connection. Raises OSError."""
    _, wire = await asyncio.get_running_loop().create_connection(Wire, host, port, ssl=tls)
    return wire
