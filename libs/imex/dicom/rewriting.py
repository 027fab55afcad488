"""Rewriting a data set from one uncompressed transfer syntax into another, for peers that refuse the first.

Only the headers of the elements change; the bytes of every value stay what they were, those in unknown and
private elements and in foreign character sets too.
"""

import struct
import zlib
from typing import Final

IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
MOST_BYTES: Final = 64 << 20
"""Larger data sets are not rewritten: they are held in memory."""

_REWRITABLE: Final = {IMPLICIT: (EXPLICIT,), EXPLICIT: (IMPLICIT,), DEFLATED: (EXPLICIT, IMPLICIT)}
_LONG: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_UNDEFINED: Final = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_REPRESENTATION: Final = 0x00280103
_DEPTH: Final = 64
_tag = struct.Struct("<HH").unpack_from
_short = struct.Struct("<H").unpack_from
_long = struct.Struct("<I").unpack_from
_implicit_header = struct.Struct("<HHI").pack
_explicit_short = struct.Struct("<HH2sH").pack
_explicit_long = struct.Struct("<HH2sHI").pack

Buffers = list[bytes | memoryview]


class CannotRewrite(Exception):
    """A data set cannot be rewritten; the words go on from "…, and "."""


def rewritable_to(transfer_syntax: str) -> tuple[str, ...]:
    """The transfer syntaxes into which one can be rewritten without loss, the favoured first."""
    return _REWRITABLE.get(transfer_syntax, ())


def rewrite(data: memoryview, stored: str, wanted: str, most_bytes: int = MOST_BYTES) -> bytes:
    """`data` in the transfer syntax `wanted`. Raises CannotRewrite."""
    if wanted not in rewritable_to(stored):
        raise CannotRewrite("it cannot be rewritten without loss")
    try:
        if stored == DEFLATED:
            data = _inflated(data, most_bytes)
            if wanted == EXPLICIT:
                return bytes(data)
        rewriter = _ToImplicit(data) if wanted == IMPLICIT else _ToExplicit(data)
        rewriter.elements(0, len(data), 0)
        return b"".join(rewriter.out)
    except (struct.error, zlib.error, ValueError) as error:
        raise CannotRewrite("its data set cannot be read to be rewritten") from error


def _inflated(data: memoryview, most_bytes: int) -> memoryview:
    inflater = zlib.decompressobj(-15)
    whole = inflater.decompress(data, most_bytes + 1)
    if len(whole) > most_bytes:
        raise CannotRewrite(f"it inflates to more than {most_bytes >> 20} MiB")
    if not inflater.eof:
        raise ValueError("cut short")
    return memoryview(whole)


class _Rewriter:
    """Walks the elements of a data set (PS3.5 section 7) and collects them with other headers."""

    def __init__(self, data: memoryview) -> None:
        self.out: Buffers = []
        self._data = data

    def elements(self, start: int, end: int, depth: int, *, to: int = 0) -> int:
        """Rewrite elements up to `end`, or up to the delimiter `to`; where it went on from there."""
        if depth > _DEPTH:
            raise ValueError("nested too deep")
        while start < end:
            group, number = _tag(self._data, start)
            tag = group << 16 | number
            if tag == to:
                return start + 8
            start = self.element(start, tag, end, depth)
        if to or start > end:
            raise ValueError("an element ends beyond its surroundings")
        return start

    def element(self, start: int, tag: int, end: int, depth: int) -> int:
        """Rewrite one element; where the next one begins."""
        raise NotImplementedError

    def items(self, start: int, length: int, end: int, depth: int) -> int:
        """Rewrite the items of a sequence, with undefined lengths, and its end."""
        stop = end if length == _UNDEFINED else start + length
        if stop > end:
            raise ValueError("a sequence ends beyond its surroundings")
        while start < stop:
            group, number = _tag(self._data, start)
            tag = group << 16 | number
            [size] = _long(self._data, start + 4)
            start += 8
            if tag == _SEQUENCE_END and length == _UNDEFINED:
                break
            if tag != _ITEM:
                raise ValueError("no item where one has to be")
            self.out.append(_implicit_header(0xFFFE, 0xE000, _UNDEFINED))
            if size == _UNDEFINED:
                start = self.elements(start, stop, depth + 1, to=_ITEM_END)
            elif start + size > stop:
                raise ValueError("an item ends beyond its sequence")
            else:
                start = self.elements(start, start + size, depth + 1)
            self.out.append(_implicit_header(0xFFFE, 0xE00D, 0))
        else:
            if length == _UNDEFINED:
                raise ValueError("a sequence without an end")
        self.out.append(_implicit_header(0xFFFE, 0xE0DD, 0))
        return start

    def value(self, start: int, length: int, end: int) -> memoryview:
        """The bytes of a value."""
        if length == _UNDEFINED or start + length > end:
            raise ValueError("a value ends beyond its surroundings")
        return self._data[start : start + length]


class _ToImplicit(_Rewriter):
    """From Explicit VR Little Endian."""

    def element(self, start: int, tag: int, end: int, depth: int) -> int:
        vr = bytes(self._data[start + 4 : start + 6])
        if not (vr.isalpha() and vr.isupper()):
            raise ValueError("no VR where one has to be")
        if vr in _LONG:
            [length] = _long(self._data, start + 8)
            start += 12
        else:
            [length] = _short(self._data, start + 6)
            start += 8
        if vr == b"SQ":
            self.out.append(_implicit_header(tag >> 16, tag & 0xFFFF, _UNDEFINED))
            return self.items(start, length, end, depth)
        if vr == b"UN" and length == _UNDEFINED:  # a sequence in Implicit VR (PS3.5 section 6.2.2)
            self.out.append(_implicit_header(tag >> 16, tag & 0xFFFF, _UNDEFINED))
            as_it_is = _AsItIs(self._data)
            stop = as_it_is.items(start, length, end, depth)
            self.out += as_it_is.out
            return stop
        value = self.value(start, length, end)
        self.out += (_implicit_header(tag >> 16, tag & 0xFFFF, length), value)
        return start + int(length)


class _AsItIs(_Rewriter):
    """From and to Implicit VR Little Endian: finds where a sequence ends."""

    def element(self, start: int, tag: int, end: int, depth: int) -> int:
        [length] = _long(self._data, start + 4)
        start += 8
        if length == _UNDEFINED:
            self.out.append(_implicit_header(tag >> 16, tag & 0xFFFF, _UNDEFINED))
            return self.items(start, length, end, depth)
        value = self.value(start, length, end)
        self.out += (_implicit_header(tag >> 16, tag & 0xFFFF, length), value)
        return start + int(length)


class _ToExplicit(_Rewriter):
    """From Implicit VR Little Endian; what no dictionary names becomes UN (PS3.5 section 6.2.2)."""

    def __init__(self, data: memoryview) -> None:
        super().__init__(data)
        self._signed = False

    def element(self, start: int, tag: int, end: int, depth: int) -> int:
        [length] = _long(self._data, start + 4)
        start += 8
        vr = self._vr(tag)
        if length == _UNDEFINED or vr == b"SQ":
            self.out.append(_explicit_long(tag >> 16, tag & 0xFFFF, b"SQ", 0, _UNDEFINED))
            return self.items(start, length, end, depth)
        value = self.value(start, length, end)
        if tag == _PIXEL_REPRESENTATION and length == 2:
            self._signed = value[0] == 1
        if vr not in _LONG and length > 0xFFFF:
            vr = b"UN"
        if vr in _LONG:
            header = _explicit_long(tag >> 16, tag & 0xFFFF, vr, 0, length)
        else:
            header = _explicit_short(tag >> 16, tag & 0xFFFF, vr, length)
        self.out += (header, value)
        return start + int(length)

    def _vr(self, tag: int) -> bytes:
        from pydicom.datadict import dictionary_VR  # half a second of imports, for this only

        group, number = tag >> 16, tag & 0xFFFF
        if number == 0:
            return b"UL"
        if group % 2:
            return b"LO" if 0x10 <= number <= 0xFF else b"UN"
        try:
            found = dictionary_VR(tag)
        except KeyError:
            return b"UN"
        if found == "US or SS":
            return b"SS" if self._signed else b"US"
        return found.rpartition(" ")[2].encode()
