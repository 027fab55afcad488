"""Single frames of stored pixel data (PS3.5 section 8 and annex A.4), found while they are read."""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imex.dicom.header import Elements
from imex.dicom.pixels import frame_bits

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_ITEM, _SEQUENCE_END, _UNDEFINED = 0xFFFEE000, 0xFFFEE0DD, 0xFFFFFFFF
_STARTS: Final = (b"\xff\xd8", b"\xff\x4f", b"\x00\x00\x00\x0c")
"""How a frame in JPEG or JPEG-LS, a JPEG 2000 code stream and a JP2 file begin."""
_RLE: Final = "1.2.840.10008.1.2.5"
_MOST_TABLE: Final = 1 << 20
"""Bytes of a Basic Offset Table: a quarter of a million frames."""

_IMAGES: Final = {
    _RLE: "image/dicom-rle",
    **dict.fromkeys(("50", "51", "57", "70"), "image/jpeg"),
    **dict.fromkeys(("80", "81"), "image/jls"),
    **dict.fromkeys(("90", "91"), "image/jp2"),
    **dict.fromkeys(("92", "93"), "image/jpx"),
    **dict.fromkeys(("201", "202", "203"), "image/jphc"),
    **dict.fromkeys(("110", "112"), "image/jxl"),
}
_JPEG_FAMILY: Final = "1.2.840.10008.1.2.4."


class NotInFrames(ValueError):
    """The pixel data cannot be cut into frames; words for people."""


def image_type(transfer_syntax: str) -> str:
    """The media type of a frame in a compressed syntax (PS3.18 table 8.7.3-5); empty where there is none."""
    return _IMAGES.get(transfer_syntax.removeprefix(_JPEG_FAMILY), "")


@dataclass(frozen=True, slots=True)
class Frame:
    """A run of bytes of the value of the pixel data."""

    start: int
    length: int


def frames_of(dataset: Dataset) -> int:
    """How many frames an image says that it has."""
    try:
        return max(int(dataset.get("NumberOfFrames", 1) or 1), 1)
    except (TypeError, ValueError):
        return 1


def native_frames(dataset: Dataset, numbers: Sequence[int], length: int | None) -> list[Frame]:
    """Where frames of native pixel data lie; `numbers` from 1, `length` of all of it.

    Raises:
        NotInFrames: its size is not told, is another, or its frames do not begin at bytes.
    """
    bits = frame_bits(
        Elements(
            rows=dataset.get("Rows"),
            columns=dataset.get("Columns"),
            bits_allocated=dataset.get("BitsAllocated"),
            samples_per_pixel=dataset.get("SamplesPerPixel"),
            photometric_interpretation=str(dataset.get("PhotometricInterpretation") or ""),
        )
    )
    if not bits or length is None:
        raise NotInFrames("its header does not say how large a frame is")
    count, one = frames_of(dataset), -(-bits // 8)
    if bits % 8 and count > 1:
        raise NotInFrames("its frames do not begin at whole bytes")
    if one * count > length:
        raise NotInFrames("its pixel data is shorter than its header says")
    return [Frame((number - 1) * one, one) for number in numbers]


async def encapsulated_frames(
    pieces: AsyncIterator[bytes], transfer_syntax: str, frames: int
) -> AsyncGenerator[tuple[int, bytes], None]:
    """Bytes of frames, each with its frame's number; `pieces` begin with the value of the pixel data.

    A fragment begins a frame where the transfer syntax says so (RLE), the Basic Offset Table does, or it
    looks like the beginning of one; any other goes on with the frame before.

    Raises:
        NotInFrames: it makes no sense.
    """
    coming = _Coming(pieces)
    starts = await _table(coming)
    number = at = 0
    while (length := await _item(coming)) is not None:
        first = await coming.exactly(min(4, length))
        if not number or (frames > 1 and _begins(first, at, starts, transfer_syntax)):
            number += 1
        yield number, first
        async for taken in coming.up_to(length - len(first)):
            yield number, taken
        at += 8 + length


async def _table(coming: _Coming) -> frozenset[int]:
    """The Basic Offset Table: where frames begin, from the first fragment's item on."""
    length = await _item(coming)
    if length is None or length > _MOST_TABLE:
        raise NotInFrames("its table of frames makes no sense")
    table = await coming.exactly(length)
    return frozenset(offset for (offset,) in struct.iter_unpack("<L", table[: length // 4 * 4]))


async def _item(coming: _Coming) -> int | None:
    """The length of the next item; None at the end of them."""
    group, number, length = struct.unpack("<HHL", await coming.exactly(8))
    tag = group << 16 | number
    if tag == _SEQUENCE_END:
        return None
    if tag != _ITEM or length == _UNDEFINED:
        raise NotInFrames("its fragments make no sense")
    return int(length)


def _begins(first: bytes, at: int, starts: frozenset[int], transfer_syntax: str) -> bool:
    if transfer_syntax == _RLE:
        return True
    return at in starts if starts else first.startswith(_STARTS)


class _Coming:
    """Bytes in pieces, of which so many are taken at a time."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    async def exactly(self, wanted: int) -> bytes:
        """So many. Raises NotInFrames where they end before."""
        taken = [piece async for piece in self.up_to(wanted)]
        return b"".join(taken)

    async def up_to(self, wanted: int) -> AsyncGenerator[bytes, None]:
        """The same in pieces."""
        while wanted:
            if not self._held:
                self._held = await anext(self._pieces, b"")
                if not self._held:
                    raise NotInFrames("its pixel data is cut short")
            taken, self._held = self._held[:wanted], self._held[wanted:]
            wanted -= len(taken)
            yield taken
