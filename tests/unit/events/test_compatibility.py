"""What may change within a version of an event, and what may not."""

from copy import deepcopy
from typing import Any

import pytest

from imex.events.compatibility import breaks
from imex.events.render import event_schemas

OLD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "state": {"enum": ["a", "b"], "type": "string"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "data": {"$ref": "#/$defs/Data"},
    },
    "required": ["id", "state", "data"],
    "$defs": {"Data": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    schema = deepcopy(OLD)
    at = schema
    *steps, last = path.split("/")
    for step in steps:
        at = at[step]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return schema


def test_every_published_schema_may_replace_itself() -> None:
    for schema in event_schemas().values():
        assert breaks(schema, schema) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("properties/later", {"type": "string"}),
        ("description", "better words"),
        ("required", ["id", "state", "data", "note"]),
        ("properties/state/enum", ["a"]),
        ("properties/id/description", "an id"),
    ],
)
def test_additions_and_narrowing_are_harmless(path: str, value: Any) -> None:
    assert breaks(OLD, changed(path, value)) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("properties/id", None, "/id: removed"),
        ("required", ["id", "data"], "/state: no longer always there"),
        ("properties/id/type", "integer", "/id: type changed"),
        ("properties/state/enum", ["a", "b", "c"], "/state: new values ['c']"),
        ("properties/state/enum", None, "/state: values are no longer listed"),
        ("$defs/Data/properties/n/type", "string", "/data/n: type changed"),
        ("properties/note/anyOf", [{"type": "string"}], "/note: alternatives changed"),
        ("properties/id/maxLength", 3, "/id: maxLength changed"),
    ],
)
def test_what_a_reader_relies_on_may_not_change(path: str, value: Any, words: str) -> None:
    found = breaks(OLD, changed(path, value))
    assert len(found) == 1
    assert found[0].startswith(words)
