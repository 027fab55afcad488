"""Whether a schema may replace another under the same version.

Producers are closed and consumers open: whoever reads with the old schema must find every event of the new
one valid and every promise kept. What is not known to be harmless is a break.
"""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

_PROSE = {"description", "title", "examples", "$comment", "default"}
_HANDLED = {"properties", "required", "enum", "const", "$defs", "items", "anyOf", "additionalProperties"}


def breaks(old: Schema, new: Schema, path: str = "") -> list[str]:
    """Every way in which `new` breaks who relies on `old`; empty when it may replace it."""
    return list(_breaks(old, new, path, old, new))


def _breaks(old: Schema, new: Schema, path: str, old_root: Schema, new_root: Schema) -> Iterator[str]:
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    yield from _values(old, new, path)
    yield from _properties(old, new, path, old_root, new_root)
    for keyword in ("items", "additionalProperties"):
        if isinstance(old.get(keyword), dict) and isinstance(new.get(keyword), dict):
            yield from _breaks(old[keyword], new[keyword], f"{path}/{keyword}", old_root, new_root)
        elif old.get(keyword) != new.get(keyword):
            yield f"{path}: {keyword} changed"
    yield from _branches(old, new, path, old_root, new_root)
    for keyword in sorted((old.keys() | new.keys()) - _PROSE - _HANDLED):
        if old.get(keyword) != new.get(keyword):
            yield f"{path}: {keyword} changed from {old.get(keyword)!r} to {new.get(keyword)!r}"


def _resolved(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        schema = root["$defs"][name]
    return schema


def _values(old: Schema, new: Schema, path: str) -> Iterator[str]:
    if old.get("const") != new.get("const"):
        yield f"{path}: const changed"
    before, after = old.get("enum"), new.get("enum")
    if before is not None and after is None:
        yield f"{path}: values are no longer listed"
    elif before is None and after is not None:
        return  # fewer values than before: every reader copes
    elif before is not None and after is not None and (added := [v for v in after if v not in before]):
        yield f"{path}: new values {added}"


def _properties(old: Schema, new: Schema, path: str, old_root: Schema, new_root: Schema) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for name in sorted(before.keys() - after.keys()):
        yield f"{path}/{name}: removed"
    for name in sorted(set(old.get("required", ())) - set(new.get("required", ()))):
        if name in after:
            yield f"{path}/{name}: no longer always there"
    for name in sorted(before.keys() & after.keys()):
        yield from _breaks(before[name], after[name], f"{path}/{name}", old_root, new_root)


def _branches(old: Schema, new: Schema, path: str, old_root: Schema, new_root: Schema) -> Iterator[str]:
    before, after = old.get("anyOf"), new.get("anyOf")
    if before is None and after is None:
        return
    if before is None or after is None or len(before) != len(after):
        yield f"{path}: alternatives changed"
        return
    for index, (one, other) in enumerate(zip(before, after, strict=True)):
        yield from _breaks(one, other, f"{path}/anyOf/{index}", old_root, new_root)
