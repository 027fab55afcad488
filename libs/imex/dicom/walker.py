"""Walks the structure of a data set as its bytes come in, keeping only what is wanted (PS3.5 section 7)."""

import struct
from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from typing import Final

from imex.dicom.forms import FORMS, LONGEST_CHECKED, Form, forms_by_tag
from imex.dicom.header import Limits
from imex.dicom.iods import needed_anywhere
from imex.dicom.syntax import Encoding
from imex.dicom.wanted import EVERY_ITEM, INSIDE, PIXEL_DATA, TOP_LEVEL

UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_PIXEL_DATA: Final = 0x7FE00010
_LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_SHORT_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()  # the VRs with 16-bit lengths
)
_BINARY_VRS: Final = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW"})
_FORBIDDEN_GROUPS: Final = frozenset({0x0000, 0x0001, 0x0002, 0x0003, 0x0005, 0x0007, 0xFFFF})
_NOTHING: Final[frozenset[int]] = frozenset()
_MORE: Final = -1
_MOST_NAMED: Final = 16


class _Kind(IntEnum):
    ELEMENTS = 0
    SEQUENCE = 1
    FRAGMENTS = 2


class _Frame:
    """One open container: the data set, an item of a sequence, a sequence, or encapsulated pixel data."""

    __slots__ = ("end", "implicit", "items", "kind", "tag", "wanted")

    def __init__(self, kind: _Kind, end: int | None, implicit: bool, tag: int = 0) -> None:
        self.kind = kind
        self.end = end
        self.implicit = implicit
        self.tag = tag
        self.items = 0
        self.wanted = _NOTHING


class Walker:
    """Push parser of the structure; ``values`` holds what was kept, ``problem`` what stopped it.

    Keys of ``values`` are ``(0, tag)`` at the top level and ``(sequence's tag, tag)`` in the first item of
    a sequence, in later ones ``(sequence's tag + (item's number << 32), tag)``. ``lengths`` has the
    elements of the top level that some SOP class needs. Memory: those, the kept values, one incomplete
    element, and one frame a level.
    """

    def __init__(self, encoding: Encoding, limits: Limits) -> None:
        self.values: dict[tuple[int, int], bytes] = {}
        self.private_creators: list[bytes] = []
        self.problem: str | None = None
        self.out_of_order = False
        self.lengths: dict[int, int] = {}
        self.malformed: list[int] = []
        self.odd: list[int] = []
        self.pixel_at: int | None = None
        self.pixel_tag: int | None = None
        self.pixel_bytes: int | None = None
        self._encoding = encoding
        self._limits = limits
        self._needed = needed_anywhere()
        self._forms: Mapping[object, Form] = forms_by_tag() if encoding.implicit else FORMS
        order = ">" if encoding.big_endian else "<"
        self._explicit = struct.Struct(order + "HH2sH").unpack_from
        self._implicit = struct.Struct(order + "HHL").unpack_from
        self._long = struct.Struct(order + "L").unpack_from
        self._top = _Frame(_Kind.ELEMENTS, None, encoding.implicit)
        self._top.wanted = TOP_LEVEL
        self._frame = self._top
        self._stack: list[_Frame] = [self._top]
        self._depth = 0
        self._last_tag = 0
        self._at = 0  # offset in the data set of the next byte that is not consumed
        self._skip = 0  # bytes of the current value that are still to come
        self._need = 8  # bytes that the next step asks for
        self._tail = bytearray()  # the beginning of an element whose rest is still to come

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; they are not kept, except the start of an incomplete element."""
        size = len(data)
        if self._skip >= size:
            self._skip -= size
            self._at += size
            return
        view = memoryview(data)
        position = 0
        while position < size and self.problem is None:
            if self._skip:
                step = min(self._skip, size - position)
                self._skip -= step
                self._at += step
                position += step
            elif self._tail:
                step = min(self._need - len(self._tail), size - position)
                self._tail += view[position : position + step]
                position += step
                if len(self._tail) >= self._need:
                    tail = bytes(self._tail)
                    self._tail = bytearray(tail[self._walk(tail) :])
            else:
                position += self._walk(view[position:])
                if not self._skip and position < size:
                    self._tail += view[position:]
                    position = size

    def finish(self) -> None:
        """Say that no more bytes come: what is still open becomes the problem."""
        if self.problem is not None:
            return
        while self._frame.end == self._at and len(self._stack) > 1:
            self._close()
        if self._skip:
            self._fail(f"truncated: the last value lacks {self._skip} of its bytes", self._at)
        elif self._tail:
            self._fail("truncated within an element", self._at)
        elif len(self._stack) > 1:
            self._fail("truncated: a sequence or item is not ended", self._at)
        elif self._at == 0:
            self.problem = "the data set is empty"

    def _fail(self, what: str, at: int) -> int:
        self.problem = f"unreadable at byte {at}: {what}"
        return _MORE

    def _walk(self, view: bytes | memoryview) -> int:
        """Consume whole elements of ``view``; return how many bytes of it were consumed."""
        position, size, base = 0, len(view), self._at
        while self.problem is None:
            frame = self._frame
            if frame.end is not None and frame.end <= base + position:
                self._close()
                continue
            if size - position < 8:
                self._need = 8
                break
            if frame.kind is _Kind.ELEMENTS:
                following = self._element(view, position, size, base)
            else:
                following = self._item(view, position, base)
            if following == _MORE:
                break
            if following >= size:
                self._skip = following - size
                position = size
                break
            position = following
        self._at = base + position
        return position

    def _element(self, view: bytes | memoryview, start: int, size: int, base: int) -> int:  # noqa: PLR0911, PLR0912
        """Read the element at ``start``; return where its value ends, or ``_MORE``.

        One function on purpose: it runs for every element of every image.
        """
        frame = self._frame
        if frame.implicit:
            group, element, length = self._implicit(view, start)
            vr, value = b"", start + 8
        else:
            group, element, vr, length = self._explicit(view, start)
            value = start + 8
            if vr in _LONG_VRS:
                if size - start < 12:
                    self._need = 12
                    return _MORE
                (length,) = self._long(view, value)
                value += 4
            elif vr not in _SHORT_VRS and group != 0xFFFE:
                return self._fail("unknown value representation", base + start)
        tag: int = group << 16 | element
        if group == 0xFFFE or group in _FORBIDDEN_GROUPS:
            return self._marker(view, tag, start, base)
        if frame is self._top:
            if tag <= self._last_tag:
                if tag == self._last_tag:
                    return self._fail("the same element twice", base + start)
                self.out_of_order = True
            self._last_tag = tag
            if tag in self._needed:
                self.lengths[tag] = length
            if tag in PIXEL_DATA:
                self._pixels(tag, length)
                self.pixel_at = base + value
        if length == UNDEFINED or vr == b"SQ" or (not vr and tag in _sequence_tags()):
            return self._open(tag, vr, length, value, base)
        following: int = value + length
        if frame.end is not None and base + following > frame.end:
            return self._fail("an element is longer than what holds it", base + start)
        if frame is self._top:
            form = self._forms.get(tag if frame.implicit else vr)
            if form is not None and 0 < length <= LONGEST_CHECKED:
                if following > size:
                    return self._again(following - start, tag)
                if form(view, value, following) is None and len(self.malformed) < _MOST_NAMED:
                    self.malformed.append(tag)
            if length & 1 and len(self.odd) < _MOST_NAMED:
                self.odd.append(tag)
        if tag in frame.wanted or (frame is self._top and group & 1 and 0x10 <= element <= 0xFF):
            return self._keep(view, tag, start, slice(value, following), base)
        return following

    def _keep(self, view: bytes | memoryview, tag: int, start: int, value: slice, base: int) -> int:
        end: int = value.stop
        if end - value.start > self._limits.max_value_bytes:
            return self._fail("an identifying value is longer than the limit", base + start)
        if end > len(view):
            return self._again(end - start, tag)
        content = bytes(view[value])
        if tag >> 16 & 1:
            if len(self.private_creators) < 256:
                self.private_creators.append(content[:64])
        else:
            key = (0 if self._frame is self._top else self._place(), tag)
            if key in self.values:
                return self._fail("the same element twice", base + start)
            self.values[key] = content
        return end

    def _again(self, need: int, tag: int) -> int:
        self._need = need
        if self._frame is self._top:
            self._last_tag = tag - 1  # the element will be read again, and is not then its own double
        return _MORE

    def _place(self) -> int:
        sequence = self._stack[-2]
        return sequence.tag + ((sequence.items - 1) << 32)

    def _pixels(self, tag: int, length: int) -> None:
        self.pixel_tag = tag
        self.pixel_bytes = 0 if length == UNDEFINED else length

    def _marker(self, view: bytes | memoryview, tag: int, start: int, base: int) -> int:
        """An item's end; anything else of its group, or a group that no data set may have, is a problem."""
        (length,) = self._long(view, start + 4)
        if tag == _ITEM_END and self._frame is not self._top and self._frame.end is None and length == 0:
            self._close()
            return start + 8
        return self._fail("an element that cannot stand here", base + start)

    def _open(self, tag: int, vr: bytes, length: int, value: int, base: int) -> int:
        """Begin a sequence or encapsulated pixel data whose first item is at ``value``."""
        frame = self._frame
        end = None if length == UNDEFINED else base + value + length
        if end is not None and frame.end is not None and end > frame.end:
            return self._fail("a sequence is longer than what holds it", base + value)
        if vr in _BINARY_VRS or (not vr and tag == _PIXEL_DATA):
            if not self._encoding.encapsulated:
                return self._fail("encapsulated pixel data in a native transfer syntax", base + value)
            self._stack.append(_Frame(_Kind.FRAGMENTS, None, False, tag))
        elif vr in (b"SQ", b"UN", b""):
            if self._depth >= self._limits.max_depth:
                return self._fail(f"sequences nested deeper than {self._limits.max_depth}", base + value)
            self._depth += 1
            # An unknown sequence of undefined length is Implicit VR whatever surrounds it (PS3.5 6.2.2).
            implicit = frame.implicit or vr == b"UN"
            self._stack.append(_Frame(_Kind.SEQUENCE, end, implicit, tag))
        else:
            return self._fail("an undefined length where none may be", base + value)
        self._frame = self._stack[-1]
        return value

    def _item(self, view: bytes | memoryview, start: int, base: int) -> int:
        """Read the item, fragment or end of sequence at ``start``."""
        frame = self._frame
        group, element, length = self._implicit(view, start)
        tag: int = group << 16 | element
        following: int = start + 8
        if tag == _SEQUENCE_END and frame.end is None:
            self._close()
            return following
        if tag != _ITEM:
            return self._fail("something else where an item should begin", base + start)
        frame.items += 1
        if frame.kind is _Kind.FRAGMENTS:
            if length == UNDEFINED:
                return self._fail("a fragment of undefined length", base + start)
            if len(self._stack) == 2 and frame.items > 1 and self.pixel_bytes is not None:
                self.pixel_bytes += length
            return following + int(length)
        end = None if length == UNDEFINED else base + following + length
        if end is not None and frame.end is not None and end > frame.end:
            return self._fail("an item is longer than its sequence", base + start)
        item = _Frame(_Kind.ELEMENTS, end, frame.implicit)
        if len(self._stack) == 2 and frame.items <= EVERY_ITEM.get(frame.tag, 1):
            item.wanted = INSIDE.get(frame.tag, _NOTHING)
        self._stack.append(item)
        self._frame = item
        return following

    def _close(self) -> None:
        closed = self._stack.pop()
        self._frame = self._stack[-1]
        if closed.kind is _Kind.SEQUENCE:
            self._depth -= 1


@cache
def _sequence_tags() -> frozenset[int]:
    """Tags of the standard's sequences, for Implicit VR, where only the dictionary tells them."""
    from pydicom._dicom_dict import DicomDictionary

    return frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
