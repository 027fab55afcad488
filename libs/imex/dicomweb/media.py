"""Media types of requests, and what an Accept header asks for (RFC 9110 12.5.1, PS3.18 section 8.7)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Final

DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
JSON: Final = "application/json"
RELATED: Final = "multipart/related"
_MOST_CHARS = 4096


@dataclass(frozen=True, slots=True)
class MediaType:
    """`name` in lower case, `parameters` by their names in lower case."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def part(self) -> str:
        """What a multipart/related is made of: its parameter `type`, or itself where it is none."""
        if self.name != RELATED:
            return self.name
        return self.parameters.get("type", "").lower()


def media_type(value: str) -> MediaType:
    """Read a Content-Type, or one of the types in an Accept; an unreadable one has an empty name."""
    message = Message()
    message["content-type"] = value[:_MOST_CHARS]
    read = message.get_params(failobj=[], unquote=True)
    if not read or "/" not in read[0][0]:
        return MediaType("")
    return MediaType(read[0][0].strip().lower(), {name.lower(): found.strip() for name, found in read[1:]})


def accepted(header: str) -> list[MediaType]:
    """The types that an Accept header names, the most wanted first; without one anything will do."""
    if not header.strip():
        return [MediaType("*/*")]
    wanted = [media_type(part) for part in _split(header[:_MOST_CHARS])]
    rated = [(_quality(each), each) for each in wanted if each.name]
    return [each for quality, each in sorted(rated, key=lambda pair: -pair[0]) if quality > 0]


def _quality(wanted: MediaType) -> float:
    try:
        return float(wanted.parameters.get("q", "1"))
    except ValueError:
        return 0.0


def _split(header: str) -> list[str]:
    """At commas that stand in no quoted text."""
    parts, quoted, start = [], False, 0
    for index, letter in enumerate(header):
        if letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            parts.append(header[start:index])
            start = index + 1
    return [*parts, header[start:]]


def json_wanted(header: str) -> bool:
    """Whether an answer in DICOM JSON will do."""
    return any(each.name in {DICOM_JSON, JSON, "*/*", "application/*"} for each in accepted(header))
