"""Table E.1-1 of PS3.15, attribute by attribute, with the options that change what is done.

`table.json` says its edition and source. Attributes that a later edition added are in it too, with the
action of the basic profile only, so that no option keeps them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Row:
    """One attribute: the code of the basic profile (X, Z, D, U, X/Z, …), and K or C by option."""

    tag: str
    """Eight hex digits; `x` stands for any, in repeating groups."""
    name: str
    code: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """The table of one edition."""

    edition: str
    rows: tuple[Row, ...]
    by_tag: Mapping[int, Row]
    repeating: tuple[Row, ...]
    safe_private: frozenset[tuple[int, str, int]]
    """Group, private creator and element within the creator's block, of table E.3.10-1."""

    def row_of(self, tag: int) -> Row | None:
        """The row of an attribute; None where the standard has none."""
        found = self.by_tag.get(tag)
        if found is not None:
            return found
        if (tag >> 24) in _REPEATING_GROUPS:
            text = f"{tag:08X}"
            for row in self.repeating:
                if all(wanted in ("x", given) for wanted, given in zip(row.tag, text, strict=True)):
                    return row
        return None


_REPEATING_GROUPS: Final = frozenset({0x50, 0x60})


@cache
def table() -> Table:
    """The table that is part of this package."""
    held: dict[str, Any] = json.loads(
        files("imex.deidentification").joinpath("table.json").read_text(encoding="utf-8")
    )
    rows = tuple(Row(*row) for row in (*held["rows"], *held["later_rows"]))
    return Table(
        edition=held["edition"],
        rows=rows,
        by_tag={int(row.tag, 16): row for row in rows if "x" not in row.tag},
        repeating=tuple(row for row in rows if "x" in row.tag),
        safe_private=frozenset(
            (int(place[:4], 16), creator, int(place[4:], 16)) for place, creator, _ in held["safe_private"]
        ),
    )
