"""Printing: JSON for scripts, tables for people."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print what the API answers, as JSON.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, in words that name no patient.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many; without it, all.")]

_WIDE = 240
"""Columns for a table that no person sees at once (a pipe or a file): nothing is cut there."""


def print_json(value: Any) -> None:
    """Indented JSON on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, none: str) -> None:
    """A table; ``none`` is said where there are no rows. Values are never cut, only folded."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines = [[_cell(value) for value in row] for row in rows]
    if not lines:
        print(none)
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    width = None if sys.stdout.isatty() else _WIDE
    Console(width=width, highlight=False).print(table)


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line; what is empty is left out."""
    shown = {name: _cell(value) for name, value in facts.items() if value not in (None, "", [], {})}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        print(f"{name.ljust(width)}  {value}")


def local_time(stamp: object, *, day: bool = True) -> str:
    """An ISO time of the API in the machine's own time zone."""
    if not isinstance(stamp, str):
        return ""
    try:
        at = datetime.fromisoformat(stamp).astimezone()
    except ValueError:
        return stamp
    return at.strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S.%f")[: 19 if day else 12]


def size_of(count: object) -> str:
    """Bytes in words."""
    if not isinstance(count, int | float):
        return ""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return ""


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(inside)}" for name, inside in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_cell(inside) for inside in value)
    return str(value)
