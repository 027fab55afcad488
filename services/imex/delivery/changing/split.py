"""A payload in two: the head, which is held in memory, and the bulk, which streams through."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from imex.delivery.changing.decide import CannotChange
from imex.delivery.changing.encode import inflated
from imex.delivery.payloads import Payload, PayloadBroken
from imex.dicom.head import PADDING_HEADER, FragmentsCutter, HeadFinder, HeadTooLarge, HeadUnreadable, padding
from imex.dicom.syntax import Encoding

Pieces = AsyncGenerator[bytes | memoryview, None]
_ZEROS = bytes(1 << 16)
_FIRST_LOOK = 1 << 13
"""Most heads are smaller: the bulk of what is held whole need not be copied."""


@dataclass(slots=True)
class Parts:
    """A data set in two. Of one held whole the bulk is at hand, else it comes in pieces."""

    head: bytes
    pixels: bool
    """Whether the bulk begins with pixel data; else there is none."""
    length: int
    """Of the bulk. Bytes."""
    held: memoryview | None
    coming: Pieces | None = None

    async def close(self) -> None:
        """It is not wanted any more."""
        if self.coming is not None:
            await self.coming.aclose()


async def split(payload: Payload, encoding: Encoding, most_bytes: int, *, tail: bool) -> Parts:
    """Find the bulk; what stands behind the pixel data stays only where `tail` says so.

    Raises:
        CannotChange: the head is too large, or cannot be read.
        PayloadBroken, StoreError: as reading the payload does.
    """
    finder = HeadFinder(encoding, most_bytes)
    try:
        if encoding.deflated:
            packed = b"".join([bytes(piece) async for piece in payload.pieces()])
            whole: memoryview | None = memoryview(inflated(packed, most_bytes))
        else:
            whole = payload.whole
        if whole is not None:
            return _split_whole(finder, whole, tail=tail)
        return await _split_stream(finder, payload, tail=tail)
    except HeadTooLarge:
        raise CannotChange(
            f"what stands before its pixel data is larger than the {most_bytes >> 20} MiB that can be changed"
        ) from None
    except HeadUnreadable:
        raise CannotChange("its header cannot be read to be changed") from None


def _split_whole(finder: HeadFinder, whole: memoryview, *, tail: bool) -> Parts:
    start, step = 0, _FIRST_LOOK
    while start < len(whole) and not finder.feed(whole[start : start + step]):
        start, step = start + step, 2 * step
    if finder.end is None:
        finder.finish()
    end = finder.end or 0
    bulk = whole[end:]
    if not tail and finder.pixel_value is not None:
        if finder.pixel_length is not None:
            bulk = bulk[: finder.pixel_value - end + finder.pixel_length]
        else:
            cutter = FragmentsCutter()
            bulk = bulk[: finder.pixel_value - end + len(cutter.cut(whole[finder.pixel_value :]))]
    return Parts(bytes(finder.held[:end]), finder.pixel_value is not None, len(bulk), bulk)


async def _split_stream(finder: HeadFinder, payload: Payload, *, tail: bool) -> Parts:
    pieces = payload.pieces()
    async for piece in pieces:
        if finder.feed(piece):
            break
    else:
        finder.finish()
    end = finder.end or 0
    head, rest = bytes(finder.held[:end]), bytes(finder.held[end:])
    finder.held.clear()
    length = payload.instance.size - end
    coming = _following(rest, pieces)
    if not tail and finder.pixel_value is not None:
        before = finder.pixel_value - end
        if finder.pixel_length is not None:
            length = min(length, before + finder.pixel_length)
            coming = _first(coming, length)
        else:
            coming = _fragments(coming, before, length)
    return Parts(head, finder.pixel_value is not None, length, None, coming)


async def _following(rest: bytes, pieces: Pieces) -> Pieces:
    async with aclosing(pieces):
        if rest:
            yield rest
        async for piece in pieces:
            yield piece


async def _first(pieces: Pieces, length: int) -> Pieces:
    """The first bytes; the others are read, as the digest is over all."""
    async with aclosing(pieces):
        async for piece in pieces:
            taken = memoryview(piece)[:length]
            length -= len(taken)
            if taken:
                yield taken


async def _fragments(pieces: Pieces, before: int, length: int) -> Pieces:
    """Encapsulated pixel data, and padding in the place of what follows: how much is not known beforehand."""
    cutter = FragmentsCutter()
    left = length
    async with aclosing(pieces):
        async for piece in pieces:
            view = memoryview(piece)
            skipped = min(before, len(view))
            before -= skipped
            try:
                end = skipped + len(cutter.cut(view[skipped:]))
            except HeadUnreadable:
                raise PayloadBroken("its pixel data cannot be read to its end") from None
            left -= end
            if end:
                yield view[:end]
    if 0 < left < PADDING_HEADER:
        raise PayloadBroken("what follows its pixel data cannot be left out")
    if left:
        yield padding(left)
        left -= PADDING_HEADER
        while left:
            yield _ZEROS[: min(left, len(_ZEROS))]
            left -= min(left, len(_ZEROS))
