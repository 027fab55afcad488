"""From a kept document to an index, in small steps: another thread is never kept waiting for long.

A directory of national size takes a third of a second to read. In one call, most of that would hold the
interpreter's lock, and an event loop beside it would stand still.
"""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from imex.directory.index import DirectoryIndex
from imex.directory.model import Agreement, Directory, Group, Institution, Rule

_ENTRIES: dict[str, type[BaseModel]] = {
    "institutions": Institution,
    "groups": Group,
    "agreements": Agreement,
    "rules": Rule,
}


class UnreadableDocument(ValueError):
    """A kept document is no directory of this release."""


def load(document: bytes, version: str | None = None) -> DirectoryIndex:
    """The index of a document that `imex.directory.document.canonical` wrote; ``version`` is its digest.

    Raises:
        UnreadableDocument: it is no such document.
    """
    parts: dict[str, list[BaseModel]] = {}
    try:
        for name, text in _pieces(document.decode()):
            parts.setdefault(name, []).append(_ENTRIES[name].model_validate_json(text))
    except (ValidationError, ValueError, KeyError, IndexError) as error:
        raise UnreadableDocument(f"the document is no directory: {type(error).__name__}") from None
    # what its entries are has been checked, and how they belong together before it was put in force
    sections: dict[str, Any] = {name: tuple(entries) for name, entries in parts.items()}
    directory = Directory.model_construct(**sections)
    return DirectoryIndex(directory, version)


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Each entry with its section. RFC 8785 knows no white space, so that one step leads to the next."""
    scan = json.JSONDecoder().raw_decode
    _expect(text, 0, "{")
    place = 1
    while text[place] != "}":
        name, place = scan(text, place + (text[place] == ","))
        _expect(text, place, ":[")
        place += 2
        while text[place] != "]":
            begin = place + (text[place] == ",")
            _, place = scan(text, begin)
            yield name, text[begin:place]
        place += 1
    if place != len(text) - 1:
        raise ValueError("it goes on behind its end")


def _expect(text: str, place: int, sign: str) -> None:
    if not text.startswith(sign, place):
        raise ValueError(f"{sign} is missing")
