"""What changes between two versions, entry by entry."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from imex.directory.collector import resting
from imex.directory.document import as_document
from imex.directory.model import Directory

_NAMES = ("code", "id", "name", "ae_title")
"""Fields that name an entry of a list, the first present one deciding."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change; ``path`` names entries by code, id or name: ``institutions.RQM.endpoints.pacs.port``."""

    kind: Literal["added", "removed", "changed"]
    path: str
    before: Any = None
    after: Any = None

    @property
    def words(self) -> str:
        """The change in a line."""
        match self.kind:
            case "added":
                return f"added {self.path}: {_short(self.after)}"
            case "removed":
                return f"removed {self.path}: {_short(self.before)}"
            case "changed":
                return f"changed {self.path}: {_short(self.before)} → {_short(self.after)}"


def diff(old: Directory, new: Directory) -> list[Change]:
    """Every change from ``old`` to ``new``, in the order of the file; empty where both mean the same."""
    with resting():
        return diff_documents(as_document(old), as_document(new))


def diff_documents(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """`diff` of two documents as `imex.directory.document.as_document` makes them, or JSON holds them."""
    with resting():
        return list(_compare("", _in_order(old), _in_order(new)))


def _in_order(document: Mapping[str, Any]) -> dict[str, Any]:
    """The canonical document has its sections by the alphabet, the file as people read it."""
    return {name: document[name] for name in Directory.model_fields if name in document}


def _compare(path: str, old: Any, new: Any) -> Iterator[Change]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _compare_mappings(path, old, new)
        return
    before, after = _named(old), _named(new)
    if before is None or after is None:
        yield Change("changed", path, old, new)
        return
    yield from _compare_mappings(path, before, after)
    kept_before = [name for name in before if name in after]
    kept_after = [name for name in after if name in before]
    if kept_before != kept_after:
        yield Change("changed", f"{path} (order)", kept_before, kept_after)


def _compare_mappings(path: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    for name in [*old, *(name for name in new if name not in old)]:
        below = f"{path}.{name}" if path else name
        if name not in new:
            yield from _whole("removed", below, old[name])
        elif name not in old:
            yield from _whole("added", below, new[name])
        else:
            yield from _compare(below, old[name], new[name])


def _whole(kind: Literal["added", "removed"], path: str, value: Any) -> Iterator[Change]:
    entries = _named(value) if "." not in path else None
    if entries:  # a whole section: tell its entries
        for name, entry in entries.items():
            yield from _whole(kind, f"{path}.{name}", entry)
    elif value:
        yield Change(kind, path, before=value) if kind == "removed" else Change(kind, path, after=value)


def _named(value: Any) -> dict[str, Any] | None:
    """A list of entries by name, or None where its entries have no names that tell them apart."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        return None
    names = [next((str(entry[field]) for field in _NAMES if field in entry), "") for entry in value]
    if "" in names or len(set(names)) != len(names):
        return None
    return dict(zip(names, value, strict=True))


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(inside)}" for name, inside in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(_short(inside) for inside in value) + "]"
    return str(value)
