"""Where the bulk of a data set begins and ends: everything before the pixel data, without keeping that.

Structure only (PS3.5 section 7); values are not looked at.
"""

import struct
from collections.abc import Generator
from typing import Final

from imex.dicom.syntax import Encoding
from imex.dicom.wanted import PIXEL_DATA

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_DEPTH: Final = 64
PADDING_HEADER: Final = 12


class HeadTooLarge(ValueError):
    """What stands before the pixel data is larger than may be held in memory."""


class HeadUnreadable(ValueError):
    """The structure makes no sense, or ends within an element."""


class HeadFinder:
    """Finds the end of the head of a data set whose bytes come in pieces.

    `end` is known once `feed` has said so, or after `finish`: the offset of the pixel data element, or of the
    end of the data set where there is none.
    """

    def __init__(self, encoding: Encoding, most_bytes: int) -> None:
        """At most `most_bytes` are held."""
        self.held = bytearray()
        self.end: int | None = None
        self.pixel_length: int | None = None
        """Of the value of the pixel data; None when undefined or there is none."""
        self.pixel_value: int | None = None
        """Where the value of the pixel data begins; None when there is none."""
        self._most = most_bytes
        self._encoding = encoding
        order = ">" if encoding.big_endian else "<"
        self._tag = struct.Struct(order + "HH").unpack_from
        self._short = struct.Struct(order + "H").unpack_from
        self._long = struct.Struct(order + "L").unpack_from
        self._boundary = 0
        self._walk = self._elements(0, 0, encoding.implicit)
        self._need = next(self._walk)

    def feed(self, piece: bytes | memoryview) -> bool:
        """Take the next bytes; whether the end of the head has been found.

        Raises:
            HeadTooLarge, HeadUnreadable: it cannot be found.
        """
        self.held += piece
        while self.end is None and len(self.held) >= self._need:
            try:
                self._need = self._walk.send(None)
            except StopIteration:
                break
        if (len(self.held) if self.end is None else self.end) > self._most:
            raise HeadTooLarge
        return self.end is not None

    def finish(self) -> None:
        """There are no more bytes. Raises HeadUnreadable when they end within an element."""
        if self.end is None:
            if self._boundary != len(self.held):
                raise HeadUnreadable("cut short")
            self.end = len(self.held)

    def _elements(self, start: int, depth: int, implicit: bool) -> Generator[int, None, int]:
        """Walk elements, from the top or of an item of undefined length; where it went on."""
        if depth > _DEPTH:
            raise HeadUnreadable("nested too deep")
        while True:
            if depth == 0:
                self._boundary = start
            yield start + 8
            group, number = self._tag(self.held, start)
            tag = group << 16 | number
            if depth and tag == _ITEM_END:
                return start + 8
            if group == 0xFFFE:
                raise HeadUnreadable("a delimiter where none may be")
            value, length, sequence, inner = yield from self._header(start, implicit)
            if depth == 0 and tag in PIXEL_DATA:
                self.end, self.pixel_value = start, value
                self.pixel_length = None if length == _UNDEFINED else length
                return start
            if length != _UNDEFINED:
                start = value + length
            elif sequence:
                start = yield from self._items(value, depth, inner)
            else:
                raise HeadUnreadable("an undefined length where none may be")

    def _header(self, start: int, implicit: bool) -> Generator[int, None, tuple[int, int, bool, bool]]:
        """Where the value begins, its length, whether it may be a sequence, and one in Implicit VR."""
        if implicit:
            return start + 8, self._long(self.held, start + 4)[0], True, True
        vr = bytes(self.held[start + 4 : start + 6])
        if vr not in _LONG:
            return start + 8, self._short(self.held, start + 6)[0], False, False
        yield start + 12
        length = self._long(self.held, start + 8)[0]
        # an unknown sequence of undefined length is in Implicit VR (PS3.5 section 6.2.2)
        return start + 12, length, vr in (b"SQ", b"UN"), vr == b"UN"

    def _items(self, start: int, depth: int, implicit: bool) -> Generator[int, None, int]:
        while True:
            yield start + 8
            group, number = self._tag(self.held, start)
            length = self._long(self.held, start + 4)[0]
            tag = group << 16 | number
            start += 8
            if tag == _SEQUENCE_END:
                return start
            if tag != _ITEM:
                raise HeadUnreadable("no item where one has to be")
            if length == _UNDEFINED:
                start = yield from self._elements(start, depth + 1, implicit)
            else:
                start += length


class FragmentsCutter:
    """Passes encapsulated pixel data through (PS3.5 A.4), up to its end; Explicit VR Little Endian."""

    def __init__(self) -> None:
        """The next byte is the first of the element's value."""
        self.over = False
        self._skip = 0
        self._head = bytearray()

    def cut(self, piece: bytes | memoryview) -> memoryview:
        """What of the piece belongs to it. Raises HeadUnreadable where no fragment begins."""
        view = memoryview(piece)
        at = 0
        while at < len(view) and not self.over:
            if self._skip:
                step = min(self._skip, len(view) - at)
                self._skip -= step
                at += step
                continue
            step = min(8 - len(self._head), len(view) - at)
            self._head += view[at : at + step]
            at += step
            if len(self._head) == 8:
                group, number, length = struct.unpack("<HHL", self._head)
                self._head.clear()
                tag = group << 16 | number
                if tag == _SEQUENCE_END:
                    self.over = True
                elif tag != _ITEM or length == _UNDEFINED:
                    raise HeadUnreadable("no fragment where one has to be")
                else:
                    self._skip = length
        return view[:at]


def padding(length: int) -> bytes:
    """The header of a Data Set Trailing Padding (FFFC,FFFC) that takes `length` bytes with its value."""
    return struct.pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, length - PADDING_HEADER)
