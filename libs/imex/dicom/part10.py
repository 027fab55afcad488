"""The DICOM file format around a data set: PS3.10 section 7."""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

IMPLEMENTATION_CLASS_UID: Final = "2.25.213927374834019652207149216093405718312"
IMPLEMENTATION_VERSION: Final = "IMEX_0_1"
_PREFIX_END: Final = 132
_LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)


@dataclass(frozen=True, slots=True)
class EncodedInstance:
    """One instance: its identifiers and its encoded data set, without preamble and meta."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    dataset: bytes

    @property
    def digest(self) -> str:
        """`sha256:` and the hex of the encoded data set, as receipts state it."""
        return f"sha256:{hashlib.sha256(self.dataset).hexdigest()}"

    def file(self) -> bytes:
        """A Part-10 file."""
        return file_meta(self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax) + self.dataset


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str, source_ae: str = "") -> bytes:
    """Preamble, ``DICM`` and File Meta Information of our own, to stand in front of a received data set.

    The preamble is zeros: nothing that a sender chose can hide there (PS3.10 section 7.1).
    """
    body = b"".join(
        (
            struct.pack("<HH2sHL2s", 2, 1, b"OB", 0, 2, b"\0\1"),
            _uid(0x0002, sop_class),
            _uid(0x0003, sop_instance),
            _uid(0x0010, transfer_syntax),
            _uid(0x0012, IMPLEMENTATION_CLASS_UID),
            _text(0x0013, b"SH", IMPLEMENTATION_VERSION),
            _text(0x0016, b"AE", source_ae) if source_ae else b"",
        )
    )
    group_length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(body))
    return b"\0" * 128 + b"DICM" + group_length + body


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii", "replace")
    return _element(element, b"UI", value + b"\0" * (len(value) % 2))


def _text(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    return _element(element, vr, value + b" " * (len(value) % 2))


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def dataset_offset(data: bytes | bytearray | memoryview) -> int:
    """Where the data set starts in a Part-10 file, or in the first bytes of one.

    0 when there is no ``DICM`` prefix: the bytes are a bare data set. The elements of group 2 are walked; the
    group length is believed only where it names the end of one of them.

    Raises:
        ValueError: the file meta information is cut off or damaged.
    """
    return _walk_meta(data)[0]


def transfer_syntax_of(data: bytes | bytearray | memoryview) -> str:
    """The transfer syntax that a file names in its meta information; empty when it has none.

    Raises:
        ValueError: the file meta information is cut off or damaged.
    """
    return _walk_meta(data)[1]


def _walk_meta(data: bytes | bytearray | memoryview) -> tuple[int, str]:
    view = memoryview(data)
    if len(view) < _PREFIX_END or bytes(view[128:_PREFIX_END]) != b"DICM":
        return 0, ""
    position, syntax, stated_end = _PREFIX_END, "", -1
    while position + 8 <= len(view) and position != stated_end:
        group, element, vr, length = struct.unpack_from("<HH2sH", view, position)
        if group != 2:
            return position, syntax
        position += 8
        if vr in _LONG_VRS:
            if position + 4 > len(view):
                break
            (length,) = struct.unpack_from("<L", view, position)
            position += 4
        if position + length > len(view):
            break
        if element == 0x0000 and length == 4:
            stated_end = position + 4 + struct.unpack_from("<L", view, position)[0]
        elif element == 0x0010:
            syntax = bytes(view[position : position + length]).rstrip(b"\0 ").decode("ascii", "replace")
        position += length
    if position in (len(view), stated_end):
        return position, syntax
    raise ValueError(f"the file meta information is cut off or damaged near byte {position}")


def dataset_digest(data: bytes | bytearray | memoryview) -> str:
    """``sha256:`` and the hex digest of the encoded data set of a file, without preamble and meta.

    Raises:
        ValueError: the file meta information is cut off or damaged.
    """
    return "sha256:" + hashlib.sha256(memoryview(data)[dataset_offset(data) :]).hexdigest()
