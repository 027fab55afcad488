"""multipart/related (RFC 2387, RFC 2046 section 5.1), read as it comes and written as it goes.

Nothing of a part is kept: its bytes are handed on in the pieces in which they came.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MOST_PARTS: Final = 20_000
MOST_HEADERS: Final = 16
MOST_HEADER_BYTES: Final = 4096
_BOUNDARY_CHARS: Final = 200
"""RFC 2046 5.1.1 has 70; Orthanc sends 73."""
_MOST_BEFORE: Final = 16 * 1024


class BodyMalformed(ValueError):
    """The body is not what its Content-Type says; the words hold nothing of it."""


@dataclass(frozen=True, slots=True)
class PartBegun:
    """A part begins: its headers by their names in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartPiece:
    """The next bytes of the part."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class PartEnded:
    """The part is complete."""


Happening = PartBegun | PartPiece | PartEnded


def _silent() -> logging.Logger:
    return logging.Logger("multipart", logging.CRITICAL + 1)


class RelatedReader:
    """Takes a body in pieces of any size and says what they bring, in order."""

    def __init__(self, boundary: str, most_parts: int = MOST_PARTS) -> None:
        """Raises BodyMalformed where nothing can be delimited by this boundary (RFC 2046 5.1.1)."""
        if not 0 < len(boundary) <= _BOUNDARY_CHARS or not boundary.isascii() or not boundary.isprintable():
            raise BodyMalformed("the Content-Type names no boundary of 1 to 200 printable characters")
        self.parts = 0
        self._most_parts = most_parts
        self._ended = False
        self._happenings: list[Happening] = []
        self._headers: dict[str, str] = {}
        self._name = self._value = b""
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }
        # what stands before the first boundary is no part of anything (RFC 2046 5.1.1); the parser would have
        # it depend on how the body is cut
        self._before: bytearray | None = bytearray()
        self._first = b"--" + boundary.encode("ascii")
        self._parser = MultipartParser(
            boundary.encode("ascii"),
            callbacks,
            max_header_count=MOST_HEADERS,
            max_header_size=MOST_HEADER_BYTES,
        )
        # it tells the log of every byte that it did not expect, as often as somebody sends one
        self._parser.logger = _silent()

    def feed(self, data: bytes) -> list[Happening]:
        """Take the next bytes; the pieces that are given back are views of them.

        Raises:
            BodyMalformed: no boundary where one has to be, headers beyond their bounds, too many parts.
        """
        self._happenings = []
        if self._before is not None:
            data = self._begun(self._before, data)
        try:
            self._parser.write(data)
        except FormParserError:
            where = f"in part {self.parts}" if self.parts else "before its first part"
            raise BodyMalformed(f"the body does not keep to multipart/related {where}") from None
        return self._happenings

    def _begun(self, before: bytearray, data: bytes) -> bytes:
        """What is for the parser: from the first boundary on; nothing while that has not come."""
        before += data
        at = 0 if before.startswith(self._first) else before.find(b"\r\n" + self._first) + 2
        if at == 1:
            if len(before) > _MOST_BEFORE:
                raise BodyMalformed("the body does not keep to multipart/related before its first part")
            return b""
        self._before = None
        return bytes(before[at:])

    def finish(self) -> None:
        """There are no more bytes. Raises BodyMalformed where the closing boundary has not come."""
        if not self._ended:
            raise BodyMalformed("the body ends without its closing boundary")

    def _part_begin(self) -> None:
        self.parts += 1
        if self.parts > self._most_parts:
            raise BodyMalformed(f"the body has more than {self._most_parts} parts")
        self._headers = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1").strip()
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        self._happenings.append(PartBegun(self._headers))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._happenings.append(PartPiece(memoryview(data)[start:end]))

    def _part_end(self) -> None:
        self._happenings.append(PartEnded())

    def _end(self) -> None:
        self._ended = True


def part_head(
    boundary: str, content_type: str, *, first: bool, headers: Mapping[str, str] | None = None
) -> bytes:
    """What stands before the bytes of a part that is written."""
    lines = [f"--{boundary}", f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return (("" if first else "\r\n") + "\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def closing(boundary: str) -> bytes:
    """What ends a body that has parts."""
    return f"\r\n--{boundary}--\r\n".encode()
