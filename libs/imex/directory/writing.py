"""Writing the YAML of a directory, for people to read and change.

A list of entries has one entry after the other; what fits into a line stands in one.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

WIDTH = 110
"""Characters of the longest line, unless one value alone is longer."""

_PLAIN = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_./+()-]| (?! |$)|:(?! |$))*|[0-9]+(?:\.[0-9]+){2,}")
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""What JSON leaves as it is, but YAML takes for a line's end or for no character at all."""
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
"""Which other readers of YAML take for something else than a text."""


def write_yaml(document: Mapping[str, Any]) -> str:
    """A document of mappings, lists, texts, numbers and truth values, as YAML.

    A text that could be taken for anything else is quoted, with JSON's escapes.
    """
    return "".join(f"{line}\n" for line in _block(document, ""))


def _block(mapping: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in mapping.items():
        if isinstance(value, Mapping | list) and value:
            line = f"{indent}{_scalar(name)}: {_flow(value)}"
            if indent and len(line) <= WIDTH:
                yield line
                continue
            yield f"{indent}{_scalar(name)}:"
            yield from (
                _items(value, indent + "  ") if isinstance(value, list) else _block(value, indent + "  ")
            )
        else:
            yield f"{indent}{_scalar(name)}: {_flow(value)}"


def _items(values: list[Any], indent: str) -> Iterator[str]:
    for value in values:
        line = f"{indent}- {_flow(value)}"
        if len(line) <= WIDTH or not isinstance(value, Mapping | list):
            yield line
        elif isinstance(value, list):
            yield f"{indent}-"
            yield from _items(value, indent + "  ")
        else:
            lines = _block(value, indent + "  ")
            yield f"{indent}- {next(lines).lstrip()}"
            yield from lines


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(name)}: {_flow(inside)}" for name, inside in value.items()) + "}"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.casefold() not in _WORDS:
            return value
        return _UNSAFE.sub(
            lambda found: f"\\u{ord(found.group()):04x}", json.dumps(value, ensure_ascii=False)
        )
    return str(value)
