"""DIMSE messages on the upper layer: commands and data sets out of and into fragments (PS3.8 annex E)."""

from collections.abc import AsyncIterable, Iterator

from imex.dimse import command
from imex.dimse.command import Command
from imex.dimse.errors import AbortReason, ProtocolError
from imex.dimse.inbox import Fragment, Indication, ReleaseConfirmed, ReleaseRequested
from imex.dimse.limits import Limits
from imex.dimse.pdu import data_header
from imex.dimse.upper_layer import UpperLayer


class MessageReader:
    """Takes fragments from the upper layer: a command first, then its data set piece by piece."""

    def __init__(self, layer: UpperLayer, limits: Limits) -> None:
        self._layer = layer
        self._limits = limits
        self._context_id = 0
        self._dataset_bytes = 0

    async def next_command(
        self, seconds: float, words: str
    ) -> tuple[int, Command] | ReleaseRequested | ReleaseConfirmed:
        """The next command set with its context id, or what was indicated instead.

        Raises ProtocolError, DimseTimeout when none begins within `seconds`, or what ended the association.
        """
        first = await self._layer.receive(seconds, words)
        if isinstance(first, ReleaseRequested | ReleaseConfirmed):
            return first
        self._context_id = first.context_id if isinstance(first, Fragment) else 0
        fragment = self._fragment(first, command=True)
        self._dataset_bytes = 0
        data = bytearray(fragment.data)
        while not fragment.last:
            fragment = self._fragment(await self._within_message(), command=True)
            if len(data) + len(fragment.data) > self._limits.command_bytes:
                raise ProtocolError(f"command set longer than {self._limits.command_bytes} bytes")
            data += fragment.data
        if len(data) > self._limits.command_bytes:
            raise ProtocolError(f"command set longer than {self._limits.command_bytes} bytes")
        return self._context_id, command.decode(bytes(data))

    async def next_data(self) -> tuple[memoryview, bool]:
        """The next piece of the data set and whether it is the last. Raises like `next_command`."""
        fragment = self._fragment(await self._within_message(), command=False)
        self._dataset_bytes += len(fragment.data)
        if self._dataset_bytes > self._limits.dataset_bytes:
            raise ProtocolError(f"data set longer than {self._limits.dataset_bytes} bytes")
        return fragment.data, fragment.last

    async def whole_data(self, most: int) -> bytes | None:
        """All of the data set; None where it is longer than `most` and was thrown away."""
        gathered = bytearray()
        last = too_long = False
        while not last:
            data, last = await self.next_data()
            too_long = too_long or len(gathered) + len(data) > most
            if not too_long:
                gathered += data
        return None if too_long else bytes(gathered)

    async def _within_message(self) -> Indication:
        seconds = self._limits.progress_s
        return await self._layer.receive(
            seconds, f"the peer fell silent within a message for {seconds:g} s", within_message=True
        )

    def _fragment(self, indication: Indication, *, command: bool) -> Fragment:
        if not isinstance(indication, Fragment):
            raise ProtocolError("the association was released within a message", AbortReason.UNEXPECTED_PDU)
        if indication.command is not command:
            expected = "command" if command else "data set"
            raise ProtocolError(f"a fragment of another kind came within a {expected}")
        if indication.context_id != self._context_id:
            raise ProtocolError("the presentation context changed within a message")
        return indication


def pdus(context_id: int, data: bytes, fragment_bytes: int) -> Iterator[bytes]:
    """The P-DATA-TF PDUs of a whole command set."""
    for start in range(0, len(data), fragment_bytes):
        piece = data[start : start + fragment_bytes]
        last = start + fragment_bytes >= len(data)
        yield data_header(context_id, len(piece), command=True, last=last) + piece


class DataSetCutter:
    """Cuts a data set of known length, coming in chunks of any size, into P-DATA-TF PDUs without copying it.

    An odd length is padded with a zero byte, as fragments are even (PS3.8 9.3.5.1, PS3.5 7.1.1). Only whole
    PDUs are handed out: an A-ABORT behind a part of one would be taken for its data, and might complete it.
    """

    def __init__(self, context_id: int, length: int, fragment_bytes: int) -> None:
        self._context_id = context_id
        self._fragment_bytes = fragment_bytes
        self._padding = length % 2
        self._left = length
        self._pdu_left = 0
        self._pending: list[bytes | memoryview] = []
        self._begun = False

    def cut(self, chunk: bytes | memoryview) -> list[bytes | memoryview]:
        """The PDUs that the next chunk completes. Raises ValueError when it is more than was announced."""
        view = memoryview(chunk)
        if len(view) > self._left:
            raise ValueError("the data set is longer than was announced")
        whole: list[bytes | memoryview] = []
        start = 0
        while start < len(view):
            if self._pdu_left == 0:
                self._begin()
            taken = min(self._pdu_left, len(view) - start)
            self._pending.append(view[start : start + taken])
            start += taken
            self._pdu_left -= taken
            self._left -= taken
            if self._left == 0 and self._pdu_left:
                self._pending.append(bytes(self._pdu_left))
                self._pdu_left = 0
            if self._pdu_left == 0:
                whole += self._pending
                self._pending.clear()
        return whole

    def finish(self) -> list[bytes | memoryview]:
        """The PDU of an empty data set, otherwise nothing. Raises ValueError for a data set cut short."""
        if self._left:
            raise ValueError(f"the data set ended {self._left} bytes early")
        if self._begun:
            return []
        self._begin()
        return self._pending

    def _begin(self) -> None:
        total = self._left + self._padding
        size = min(self._fragment_bytes, total)
        self._pending.append(data_header(self._context_id, size, command=False, last=size == total))
        self._pdu_left = size
        self._begun = True


async def send_message(  # noqa: PLR0917  called by both sides of an association
    layer: UpperLayer,
    context_id: int,
    command_set: bytes,
    chunks: AsyncIterable[bytes | memoryview] | memoryview | None,
    length: int,
    fragment_bytes: int,
) -> None:
    """Send a command and, unless `chunks` is None, its data set of `length` bytes.

    Waits while the peer reads slower than that. Raises ValueError when the chunks are not of `length` bytes.
    """
    buffers: list[bytes | memoryview] = list(pdus(context_id, command_set, fragment_bytes))
    cutter = DataSetCutter(context_id, length, fragment_bytes)
    if chunks is None or isinstance(chunks, memoryview):
        if chunks is not None:
            buffers += cutter.cut(chunks) + cutter.finish()
        layer.send(buffers)
        await layer.drain()
        return
    async for chunk in chunks:
        buffers += cutter.cut(chunk)
        if len(buffers) > 1:  # more than the command: it goes out together with the first data
            layer.send(buffers)
            buffers = []
            await layer.drain()
    buffers += cutter.finish()
    if buffers:
        layer.send(buffers)
        await layer.drain()
