"""The directory as a document: its canonical digest, its YAML, its published schema."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from functools import cache
from typing import Any

import rfc8785

from imex.directory.collector import resting
from imex.directory.model import Directory
from imex.directory.part import Part
from imex.directory.writing import write_yaml

SCHEMA_ID = "https://imex.example/schemas/directory.schema.json"


def as_document(directory: Directory) -> dict[str, Any]:
    """Plain values in the file's own field names, without what is empty or left open."""
    return _plain_part(directory) or {"institutions": []}


def canonical(directory: Directory) -> bytes:
    """The one way to write a directory down (RFC 8785): what is kept of a version, and named by its hash."""
    with resting():
        return rfc8785.dumps(as_document(directory))


def digest(directory: Directory) -> str:
    """Name of this version: SHA-256, in hex, over the RFC 8785 form. Spelt-out defaults change nothing."""
    return digest_of(canonical(directory))


def digest_of(document: bytes) -> str:
    """Name of the version with this canonical document."""
    return hashlib.sha256(document).hexdigest()


def to_yaml(directory: Directory) -> str:
    """A file that ``parse`` reads back to an equal directory."""
    return write_yaml(as_document(directory))


def render_schema() -> str:
    """The JSON Schema of the file (draft 2020-12), as committed under ``schemas/directory.schema.json``."""
    schema = Directory.model_json_schema(by_alias=True)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True)
class _Written:
    """A field, as it is written."""

    name: str
    alias: str
    default: Any
    """What it does not say, for fields that came later; else a value that no field has."""


_ALWAYS = object()


@cache
def _fields(part: type[Part]) -> tuple[_Written, ...]:
    return tuple(
        _Written(
            name,
            info.alias or name,
            info.get_default(call_default_factory=True) if name in part.LATER else _ALWAYS,
        )
        for name, info in part.model_fields.items()
    )


def _plain_part(part: Part) -> dict[str, Any]:
    # as pydantic's own dump, which takes three times as long for a directory of national size
    values = part.__dict__
    plain: dict[str, Any] = {}
    for field in _fields(type(part)):
        value = values[field.name]
        if value is None or (field.default is not _ALWAYS and value == field.default):
            continue
        if type(value) not in _AS_THEY_ARE:
            value = _plain(value)
            if value is None or (not value and isinstance(value, list | dict)):
                continue
        plain[field.alias] = value
    return plain


_AS_THEY_ARE = frozenset({str, int, bool, float})


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return _plain_part(value)
    if isinstance(value, tuple):
        return [one if type(one) in _AS_THEY_ARE else _plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(inside) for name, inside in value.items()}
    if isinstance(value, Enum):
        return value.value
    return value.isoformat() if isinstance(value, date) else value
