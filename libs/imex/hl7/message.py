"""Reading a message: segments, fields, repetitions, components, in its own separators and character set.

The grammar (HL7 v2.5 2.5, 2.6) is python-hl7's; what it makes of a field depends on whether separators occur
in it, which is evened out here. Escape sequences (2.7) are read here: the library logs those that it cannot
read, with what surrounds them, which is patient data. Pure.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import hl7

MOST_SEGMENTS: Final = 20_000
MOST_PARTS: Final = 100_000
"""Fields, repetitions and components: each takes some 450 bytes once it is parsed."""
MOST_HEADER: Final = 4096
_CHARSETS: Final = {
    "": "utf-8",
    "ASCII": "ascii",
    "8859/1": "iso8859-1",
    "8859/15": "iso8859-15",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
}
"""Table 0211, of which others are refused; what says nothing is read as UTF-8, which ASCII is too."""
_MSH: Final = b"MSH"
_LEAST: Final = len("MSH|^~\\&")


class MessageUnreadable(Exception):
    """It is no HL7 message, or none that can be read; words without patient data."""


class Segment:
    """One segment; fields are counted as HL7 does, from 1."""

    def __init__(self, parsed: hl7.Segment, message: hl7.Message) -> None:
        self._parsed = parsed
        self._message = message

    @property
    def name(self) -> str:
        """Such as `PID`."""
        return str(self._parsed[0])

    def repetitions(self, field: int) -> list[list[list[str]]]:
        """A field: its repetitions, their components, their subcomponents; unescaped."""
        if field >= len(self._parsed):
            return []
        return [
            [[self._text(sub) for sub in _parts(component)] for component in _parts(one)]
            for one in _parts(self._parsed[field])
        ]

    def text(self, field: int, component: int = 1, subcomponent: int = 1) -> str:
        """A subcomponent of a field's first repetition, without blanks around it; empty if there is none."""
        found = self.repetitions(field)
        try:
            return found[0][component - 1][subcomponent - 1].strip()
        except IndexError:
            return ""

    def length(self, field: int) -> int:
        """Of a field as it was written, in characters."""
        return len(str(self._parsed[field])) if field < len(self._parsed) else 0

    def raw(self, field: int, component: int) -> str:
        """A component as it was written: for large data, which is encoded and has no escape sequences."""
        try:
            return str(_parts(_parts(self._parsed[field])[0])[component - 1])
        except IndexError:
            return ""

    def _text(self, value: object) -> str:
        text, message = str(value), self._message
        escape = message.esc
        if escape not in text:
            return text
        _, field, repetition, component, subcomponent = message.separators
        four = {"F": field, "R": repetition, "S": component, "T": subcomponent, "E": escape}
        pattern = f"{re.escape(escape)}([^{re.escape(escape)}\r]*){re.escape(escape)}"
        return re.sub(pattern, lambda found: _unescaped(found[1], four), text)


class Message:
    """A whole message."""

    def __init__(self, parsed: hl7.Message) -> None:
        self._parsed = parsed
        self.header = Segment(parsed[0], parsed)

    def segments(self) -> Iterator[Segment]:
        """All, in order, the header first."""
        return (Segment(one, self._parsed) for one in self._parsed)

    def of(self, name: str) -> list[Segment]:
        """Those of a name, in order."""
        return [one for one in self.segments() if one.name == name]

    @property
    def kind(self) -> tuple[str, str]:
        """Message type and trigger event, such as `ORU` and `R01`."""
        return self.header.text(9, 1).upper(), self.header.text(9, 2).upper()

    @property
    def control_id(self) -> str:
        """What its sender calls it (MSH-10)."""
        return self.header.text(10)


def read(data: bytes) -> Message:
    """Read a message. Raises MessageUnreadable."""
    if not data.startswith(_MSH) or len(data) < _LEAST:
        raise MessageUnreadable("a message begins with the segment MSH")
    separators = data[3:_LEAST]
    if len(set(separators)) != len(separators) or not all(0x20 < one < 0x7F for one in separators):
        raise MessageUnreadable("MSH-1 and MSH-2 have to be five separators")
    if any(chr(one).isalnum() for one in separators):
        raise MessageUnreadable("MSH-1 and MSH-2 have to be five separators")
    text = _decoded(data)
    if text.count("\r") > MOST_SEGMENTS:
        raise MessageUnreadable(f"it has more than {MOST_SEGMENTS} segments")
    if sum(text.count(chr(one)) for one in {data[3], data[4], data[5], data[7]}) > MOST_PARTS:
        raise MessageUnreadable(f"it has more than {MOST_PARTS} fields and components")
    try:
        parsed = hl7.parse(text)
    except (hl7.HL7Exception, ValueError, LookupError, AttributeError, TypeError, AssertionError) as error:
        raise MessageUnreadable("it does not follow the grammar of HL7 version 2") from error
    return Message(parsed)


def read_header(data: bytes) -> Message:
    """Its first segment alone, for who has to know who sends before the rest is worth the work.

    Raises MessageUnreadable.
    """
    header = data.split(b"\r", 1)[0].split(b"\n", 1)[0]
    if len(header) > MOST_HEADER:
        raise MessageUnreadable(f"MSH is longer than {MOST_HEADER} bytes")
    return read(header + b"\r")


def _decoded(data: bytes) -> str:
    header = data[: data.find(b"\r")] if b"\r" in data else data
    fields = header.split(data[3:4])
    charset = fields[17].split(data[5:6])[0] if len(fields) > 17 else b""
    encoding = _CHARSETS.get(charset.decode("ascii", "replace").strip().upper())
    if encoding is None:
        raise MessageUnreadable("its character set (MSH-18) is not supported; send UNICODE UTF-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise MessageUnreadable("it has bytes that are not of its character set (MSH-18)") from None
    lines = text.replace("\r\n", "\r").replace("\n", "\r").split("\r")
    return "\r".join(line for line in lines if line.strip())


def _unescaped(said: str, separators: Mapping[str, str]) -> str:
    """What an escape sequence stands for; highlighting and what nobody else knows stand for nothing."""
    if said in separators:
        return separators[said]
    if said in {".br", ".sp", ".in", ".fi", ".nf", ".ce"} or said.startswith(".sp"):
        return "\n"
    if said.startswith("X"):
        try:
            return bytes.fromhex(said[1:]).decode("utf-8")
        except ValueError:
            return ""
    return ""


def _parts(value: object) -> list[object]:
    """The next level down; what has no separator stands for its one part."""
    return list(value) if isinstance(value, list) else [value]
