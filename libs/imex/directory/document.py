"""The directory as a document: its canonical digest, its YAML, its published schema."""

import hashlib
import json
from typing import Any

import rfc8785
import yaml

from imex.directory.model import Directory

SCHEMA_ID = "https://imex.example/schemas/directory.schema.json"


def as_document(directory: Directory) -> dict[str, Any]:
    """Plain values in the file's own field names, without what is empty or left open."""
    document: dict[str, Any] = _without_empty(directory.model_dump(mode="json", by_alias=True))
    return document or {"institutions": []}


def digest(directory: Directory) -> str:
    """Name of this version: SHA-256, in hex, over the RFC 8785 form. Spelt-out defaults change nothing."""
    return hashlib.sha256(rfc8785.dumps(as_document(directory))).hexdigest()


def to_yaml(directory: Directory) -> str:
    """A file that ``parse`` reads back to an equal directory."""
    text: str = yaml.dump(
        as_document(directory),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=110,
        default_flow_style=False,
    )
    return text


def render_schema() -> str:
    """The JSON Schema of the file (draft 2020-12), as committed under ``schemas/directory.schema.json``."""
    schema = Directory.model_json_schema(by_alias=True)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: _without_empty(inside) for name, inside in value.items()}
        return {name: inside for name, inside in kept.items() if inside not in (None, [], {})}
    if isinstance(value, list):
        return [_without_empty(inside) for inside in value]
    return value
