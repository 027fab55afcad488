"""What a STOW-RS response says of each instance (PS3.18 section 10.5.3 and annex F, PS3.19 annex A). Pure.

DICOM JSON and the Native DICOM Model in XML are read, whatever was asked for: old servers answer the one or
the other. Only what is needed is looked at, and nothing that a server may have put there reaches anybody as
words: reasons are codes, with the words of the standard.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from xml.parsers import expat

from imex.delivery.decide import Answer, Verdict, judge_status
from imex.dimse.statuses import is_stored, words

_FAILED: Final = "00081198"
_STORED: Final = "00081199"
_OTHER_FAILURES: Final = "0008119A"
_INSTANCE: Final = "00081155"
_WARNING_REASON: Final = "00081196"
_FAILURE_REASON: Final = "00081197"
_DEPTH: Final = 32
_TRANSFER_SYNTAX: Final = 0xC122
"""PS3.18 table 10.5.3-2, besides the statuses of C-STORE."""


@dataclass(slots=True)
class Listed:
    """What became of instances: warning and failure reasons by SOP Instance UID, 0 where none is told."""

    stored: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    others: list[int] = field(default_factory=list)
    """Failures of what the server could not name."""

    def __bool__(self) -> bool:
        """Whether anything was named."""
        return bool(self.stored or self.failed or self.others)


def read_response(body: bytes) -> Listed | None:
    """What a body lists; None where it is no response of STOW-RS, whatever its media type says."""
    start = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    try:
        if start in {b"{", b"["}:
            return _from_json(body)
        if start == b"<":
            return _from_xml(body)
    except (ValueError, TypeError, AttributeError, RecursionError, expat.ExpatError):
        return None
    return None


def judge_listed(listed: Listed, sent: Collection[str], *, answered: int) -> dict[str, Answer]:
    """The answers for those of `sent` that are named.

    `answered` is the HTTP status. Who is named twice has failed. A lone instance is meant by a failure that
    names nobody.
    """
    answers: dict[str, Answer] = {}
    for uid in sent:
        if uid in listed.failed:
            answers[uid] = _failure(listed.failed[uid], answered)
        elif uid in listed.stored:
            answers[uid] = _stored(listed.stored[uid], answered)
    if len(sent) == 1 and listed.others and not answers:
        [uid] = sent
        answers[uid] = _failure(listed.others[0], answered)
    return answers


def _stored(warning: int, answered: int) -> Answer:
    if not warning:
        return Answer(Verdict.CONFIRMED, str(answered))
    return Answer(Verdict.CONFIRMED, f"0x{warning:04X}", f"stored with a warning: {words(warning)}")


def _failure(reason: int, answered: int) -> Answer:
    if reason == _TRANSFER_SYNTAX:
        told = f"refused by the destination: {reason:04X} transfer syntax not supported"
        return Answer(Verdict.FAILED, f"0x{reason:04X}", told)
    if not reason or is_stored(reason):  # a failure that is none
        return Answer(Verdict.FAILED, str(answered), "refused by the destination, which says no reason")
    return judge_status(reason, words(reason))


def _from_json(body: bytes) -> Listed | None:
    told = json.loads(body)
    if isinstance(told, list):  # one data set, in the form in which searches are answered
        told = told[0] if len(told) == 1 else None
    if not isinstance(told, dict) or not all(_is_tag(name) for name in told):
        return None
    listed = Listed()
    for tag in (_STORED, _FAILED, _OTHER_FAILURES):
        for item in (told.get(tag) or {}).get("Value") or ():
            _note(listed, tag, {name: _first(item, name) for name in _NAMED})
    return listed


_NAMED: Final = (_INSTANCE, _WARNING_REASON, _FAILURE_REASON)


def _first(item: Mapping[str, Any], tag: str) -> str:
    values = (item.get(tag) or {}).get("Value") or ()
    return str(values[0]) if values else ""


def _note(listed: Listed, tag: str, item: Mapping[str, str]) -> None:
    uid = item[_INSTANCE].strip(" \0")
    failure = _code(item[_FAILURE_REASON])
    if tag == _OTHER_FAILURES or not uid:
        if tag != _STORED:
            listed.others.append(failure)
    elif tag == _FAILED:
        listed.failed[uid] = failure
    else:
        listed.stored[uid] = _code(item[_WARNING_REASON])


def _code(told: str) -> int:
    text = told.strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    return number if number <= 0xFFFF else 0


def _is_tag(name: object) -> bool:
    return isinstance(name, str) and len(name) == 8 and all(c in "0123456789abcdefABCDEF" for c in name)


class _Native:
    """The Native DICOM Model (PS3.19 A.1): attributes, items of sequences, and values."""

    def __init__(self) -> None:
        self.listed = Listed()
        self.is_native = False
        self._depth = 0
        self._attributes: list[str] = []
        self._items: list[dict[str, str]] = []
        self._text: list[str] | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEPTH:
            raise ValueError("nested too deep")
        match name.rpartition(":")[2]:
            case "NativeDicomModel":
                self.is_native = True
            case "DicomAttribute":
                self._attributes.append(attributes.get("tag", "").upper())
            case "Item":
                self._items.append({})
            case "Value":
                self._text = []

    def text(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def end(self, name: str) -> None:
        self._depth -= 1
        match name.rpartition(":")[2]:
            case "DicomAttribute":
                self._attributes.pop()
            case "Value":
                value, self._text = "".join(self._text or ()), None
                if len(self._items) == 1 and len(self._attributes) == 2:
                    self._items[0].setdefault(self._attributes[1], value)
            case "Item":
                item = self._items.pop()
                if not self._items and self._attributes[-1:] and self._attributes[-1] in _SEQUENCES:
                    _note(self.listed, self._attributes[-1], {one: item.get(one, "") for one in _NAMED})


_SEQUENCES: Final = frozenset({_STORED, _FAILED, _OTHER_FAILURES})


def _from_xml(body: bytes) -> Listed | None:
    native = _Native()
    parser = expat.ParserCreate()
    parser.StartElementHandler = native.start
    parser.EndElementHandler = native.end
    parser.CharacterDataHandler = native.text
    parser.StartDoctypeDeclHandler = _no_doctype  # entities: nothing of a response needs them
    parser.Parse(body, True)
    return native.listed if native.is_native else None


def _no_doctype(*_: object) -> None:
    raise ValueError("a document type")


def referenced(body: bytes, tag: str) -> Iterator[str]:
    """UIDs under `tag` in a search's answer (PS3.18 10.6.3). Raises ValueError or TypeError for another."""
    told = json.loads(body)
    if not isinstance(told, list):
        raise TypeError("no list")
    for item in told:
        if not isinstance(item, dict):
            raise TypeError("no data set")
        uid = _first(item, tag).strip(" \0")
        if uid:
            yield uid
