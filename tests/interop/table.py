"""The table of `docs/interoperability.md`, between two marks."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

BEGIN = "<!-- written by `make interop` -->"
END = "<!-- end -->"
_HEAD = ("peer", "direction", "transport", "C-ECHO", "CT study", "kinds of encoding and object")


@dataclass(frozen=True)
class Row:
    """What one peer did in one direction: a line of the table."""

    peer: str
    version: str
    direction: str
    security: str
    echo: str
    study: str
    encodings: str


def render(rows: Iterable[Row]) -> str:
    """The rows as Markdown, in the order of peer, direction and transport."""
    ordered = sorted(rows, key=lambda row: (row.peer.casefold(), row.direction, row.security))
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    for row in ordered:
        program = "" if row.peer in row.version else f" ({row.version})"
        name = f"{row.peer}{program}" if program else row.version
        lines.append(_line((name, row.direction, row.security, row.echo, row.study, row.encodings)))
    return "\n".join(lines)


def write(document: Path, rows: Iterable[Row]) -> None:
    """Put the table into a document."""
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n{render(rows)}\n{END}{after}")


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
