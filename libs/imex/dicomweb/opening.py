"""How a part begins: File Meta Information (PS3.10 section 7.1), and which instance the data set is.

A C-STORE names the instance before its data set; in a file that is sent by STOW-RS the names stand in both,
and those of the data set count.
"""

import struct
import zlib
from typing import Final

from imex.dicom import Encoding, encoding_of

_PREAMBLE: Final = 128
_PREFIX_END: Final = 132
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_UID_CHARS: Final = 64
_MOST_META_BYTES: Final = 64 * 1024
_MOST_LOOKED_AT: Final = 16 * 1024
"""Of the data set: elements that stand before the SOP Instance UID are few and short."""
_UNDEFINED: Final = 0xFFFFFFFF
_LONG: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())


class NotDicom(ValueError):
    """The part is no DICOM file, or not enough of one; in words, without anything of it."""


class Opening:
    """Takes the beginning of a part in pieces until it is known what the part holds."""

    def __init__(self) -> None:
        self.sop_class_uid = ""
        self.sop_instance_uid = ""
        self.transfer_syntax = ""
        self._held = bytearray()
        self._meta_end = 0
        self._at = _PREFIX_END
        self._stated_end = -1
        self._meta: dict[int, str] = {}

    def feed(self, piece: bytes | memoryview) -> bool:
        """Take the next bytes; whether all is known now. Raises NotDicom."""
        self._held += piece
        return self._look(ended=False)

    def finish(self) -> None:
        """The part has no more bytes. Raises NotDicom where it ends too early."""
        if not self._look(ended=True):
            raise NotDicom("the part ends in its file meta information")

    @property
    def dataset(self) -> bytearray:
        """What has come of the data set."""
        return self._held[self._meta_end :]

    def _look(self, *, ended: bool) -> bool:
        if not self._meta_end and not self._walk_meta(ended=ended):
            return False
        syntax = self._meta.get(0x0010, "")
        if not syntax:
            raise NotDicom("its file meta information names no transfer syntax")
        self.transfer_syntax = syntax
        encoding = encoding_of(syntax)
        looked_at = memoryview(self._held)[self._meta_end : self._meta_end + _MOST_LOOKED_AT]
        try:
            names, done = _names(_inflated(looked_at) if encoding.deflated else looked_at, encoding)
            if not (done or ended or len(looked_at) == _MOST_LOOKED_AT):
                return False
        finally:
            looked_at.release()
        self.sop_class_uid = (names.get(_SOP_CLASS) or self._meta.get(0x0002, ""))[:_UID_CHARS]
        self.sop_instance_uid = (names.get(_SOP_INSTANCE) or self._meta.get(0x0003, ""))[:_UID_CHARS]
        return True

    def _walk_meta(self, *, ended: bool) -> bool:
        """Whether the end of the meta information has been found."""
        held = self._held
        if len(held) < _PREFIX_END:
            if ended:
                raise NotDicom("the part is no DICOM file: it is shorter than the preamble of one")
            return False
        if held[_PREAMBLE:_PREFIX_END] != b"DICM":
            raise NotDicom("the part is no DICOM file: DICM does not follow a preamble of 128 bytes")
        while self._at != self._stated_end:
            if self._at + 8 > len(held):
                return False
            if struct.unpack_from("<H", held, self._at) != (2,):
                break  # where the length of the group is not stated, what follows says that it has ended
            if not self._take_element():
                return False
        self._meta_end = self._at
        return True

    def _take_element(self) -> bool:
        """Whether the element of the meta information was there as a whole."""
        held = self._held
        _, element, vr, length = struct.unpack_from("<HH2sH", held, self._at)
        value = self._at + 8
        if vr in _LONG:
            if value + 4 > len(held):
                return False
            (length,) = struct.unpack_from("<L", held, value)
            value += 4
        if value + length > _MOST_META_BYTES:
            raise NotDicom("its file meta information is damaged, or larger than 64 KiB")
        if value + length > len(held):
            return False
        if element == 0x0000 and length == 4:
            self._stated_end = value + 4 + struct.unpack_from("<L", held, value)[0]
        elif element in (0x0002, 0x0003, 0x0010):
            self._meta[element] = _uid(held[value : value + length])
        self._at = value + length
        return True


def _uid(raw: bytes | bytearray) -> str:
    return raw[: 2 * _UID_CHARS].decode("ascii", "replace").strip(" \0")


def _inflated(data: memoryview) -> memoryview:
    """The beginning of a deflated data set, bounded; nothing where it is damaged."""
    try:
        return memoryview(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _MOST_LOOKED_AT))
    except zlib.error:
        return memoryview(b"")


def _names(data: memoryview, encoding: Encoding) -> tuple[dict[int, str], bool]:
    """SOP Class and SOP Instance UID by tag, and whether no more can be found by waiting."""
    order = ">" if encoding.big_endian else "<"
    found: dict[int, str] = {}
    at = 0
    while at + 8 <= len(data):
        group, element = struct.unpack_from(order + "HH", data, at)
        tag = group << 16 | element
        if tag > _SOP_INSTANCE:
            return found, True
        value = at + 8
        if encoding.implicit:
            (length,) = struct.unpack_from(order + "L", data, at + 4)
        else:
            vr = bytes(data[at + 4 : at + 6])
            (length,) = struct.unpack_from(order + "H", data, at + 6)
            if vr in _LONG:
                if value + 4 > len(data):
                    return found, False
                (length,) = struct.unpack_from(order + "L", data, value)
                value += 4
        if length == _UNDEFINED or length > _MOST_LOOKED_AT:
            return found, True
        if value + length > len(data):
            return found, False
        if tag in (_SOP_CLASS, _SOP_INSTANCE):
            found[tag] = _uid(bytes(data[value : value + length]))
        at = value + length
    return found, len(found) == 2
