"""From a file to a ``Directory``, or to every reason why not."""

from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from itertools import islice
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from imex.directory.checks import check
from imex.directory.collector import resting
from imex.directory.errors import DirectoryError, DirectoryErrors, Location, Problem
from imex.directory.index import DirectoryIndex
from imex.directory.model import Directory
from imex.directory.source import Source
from imex.directory.warnings import warn

MAX_ERRORS = 200
"""Findings reported at once; more add nothing that a person can use."""

MAX_QUOTED = 64
"""Characters of what was written that a finding repeats."""

_TAGS = frozenset({"dicom", "dicomweb", "inbox"})

_WORDS = {
    "missing": "is missing",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "string_type": "must be a single text",
    "tuple_type": "must be a list",
    "model_type": "must be a mapping of fields",
    "too_short": "must not be empty",
    "date_from_datetime_parsing": "must be a date such as 2026-01-31",
    "date_parsing": "must be a date such as 2026-01-31",
    "date_type": "must be a date such as 2026-01-31",
}


@dataclass(frozen=True, slots=True)
class Inspected:
    """An accepted directory, and what of it nobody can have meant."""

    directory: Directory
    warnings: tuple[DirectoryError, ...]


def parse(text: str) -> Directory:
    """Read a directory file (INTERFACE §3; YAML, of which JSON is a part).

    Raises ``DirectoryErrors`` with every finding, its line and its field.
    """
    with resting():
        return _accepted(Source(text))


def inspect(text: str, at: datetime) -> Inspected:
    """`parse`, and the warnings as of a moment, in order of line; at most ``MAX_ERRORS`` of them."""
    with resting():
        source = Source(text)
        directory = _accepted(source)
        index = DirectoryIndex(directory, version="")
        found = [source.error(problem) for problem in islice(warn(index, at), MAX_ERRORS)]
    return Inspected(directory, tuple(sorted(found, key=lambda one: (one.line, one.field, one.message))))


def _accepted(source: Source) -> Directory:
    problems = list(source.problems)
    try:
        directory = Directory.model_validate(source.value)
    except ValidationError as error:
        problems += [_explain(details) for details in error.errors(include_url=False)]
    else:
        problems += islice(check(directory), MAX_ERRORS)
        if not problems:
            return directory
    raise DirectoryErrors([source.error(problem) for problem in problems[:MAX_ERRORS]])


def _explain(details: ErrorDetails) -> Problem:
    loc: Location = details["loc"]
    kind, context = details["type"], details.get("ctx", {})
    said = details["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    message = _WORDS.get(kind, said)
    if kind == "extra_forbidden":
        message = _unknown_field(loc)
    elif kind in {"union_tag_invalid", "enum", "literal_error"}:
        message = _unknown_choice(str(details["input"]), context, kind)
        if kind == "union_tag_invalid":
            loc = (*loc, "type")
    elif field := context.get("field"):
        loc = (*loc, str(field))
    elif kind == "union_tag_not_found":
        loc = (*loc, "type")
        message = "is missing: dicom, dicomweb or inbox"
    return Problem(_without_tags(loc), message)


def _unknown_choice(given: str, context: dict[str, Any], kind: str) -> str:
    if kind == "union_tag_invalid":
        given = str(context["tag"])
        if given == "gateway":
            return "type gateway is reserved and cannot be used yet; use dicom, dicomweb or inbox"
        expected = str(context["expected_tags"])
    else:
        expected = str(context["expected"])
    given = given[:MAX_QUOTED]
    known = [choice.strip(" '") for choice in expected.replace(" or ", ",").split(",")]
    return f"{given!r} is not one of {', '.join(known)}{_suggest(given, known)}"


def _unknown_field(loc: Location) -> str:
    known = _fields_at(loc[:-1])
    return f"is no field here{_suggest(str(loc[-1]), known) or '; known are ' + ', '.join(known)}"


def _suggest(given: str, known: list[str]) -> str:
    given = given[:MAX_QUOTED]
    lowered = {name.casefold(): name for name in known}
    close = get_close_matches(given.casefold(), lowered, n=1, cutoff=0.6)
    return f"; did you mean {lowered[close[0]]}?" if close else ""


def _fields_at(loc: Location) -> list[str]:
    models: list[type[BaseModel]] = [Directory]
    for part in loc:
        if isinstance(part, int):
            continue
        below = [
            model
            for parent in models
            for name, info in parent.model_fields.items()
            if part in {name, info.alias}
            for model in _models_in(info.annotation)
        ]
        models = below or [model for model in models if _tag(model) == part] or models
    return sorted({info.alias or name for model in models for name, info in model.model_fields.items()})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in {Union, UnionType, tuple} or hasattr(annotation, "__metadata__"):
        return [model for inside in get_args(annotation) for model in _models_in(inside)]
    return []


def _tag(model: type[BaseModel]) -> str | None:
    info = model.model_fields.get("type")
    return get_args(info.annotation)[0] if info else None


def _without_tags(loc: Location) -> Location:
    """Leave out the union tag that pydantic puts after ``endpoints[n]``."""
    if len(loc) > 4 and loc[2] == "endpoints" and loc[4] in _TAGS:
        return (*loc[:4], *loc[5:])
    return loc
