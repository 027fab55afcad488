"""The table of `docs/interoperability.md`, between two marks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BEGIN = "<!-- written by `make interop` -->"
END = "<!-- end -->"
_HEAD = ("peer", "direction", "transport", "C-ECHO", "CT study", "kinds")


@dataclass(frozen=True)
class Row:
    """What one peer did in one direction and over one transport.

    `study` is empty where each slice arrived byte for byte, otherwise says why they did not; `omits` are the
    kinds of file that were left out, and why.
    """

    peer: str
    version: str
    direction: str
    transport: str
    echo: str
    study: str
    kinds: int
    omits: Mapping[str, str]

    @property
    def name(self) -> str:
        """The peer with its version."""
        return self.version if self.peer in self.version else f"{self.peer} ({self.version})"


def render(rows: Sequence[Row]) -> str:
    """The rows as Markdown in the order of peer, direction and transport, and the notes to them."""
    notes: dict[str, int] = {}
    ordered = sorted(rows, key=lambda row: (row.name.casefold(), row.direction, row.transport == "TLS"))
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD)), *(_line(_cells(row, notes)) for row in ordered)]
    return "\n".join([*lines, "", *(f"{number}. {words}" for words, number in notes.items())])


def _cells(row: Row, notes: dict[str, int]) -> Sequence[str]:
    study = "element by element" + _note(notes, [row.study]) if row.study else "byte for byte"
    kinds = f"{row.kinds - len(row.omits)} of {row.kinds}" + _note(notes, _reasons(row.omits))
    return row.name, row.direction, row.transport, row.echo, study, kinds


def write(document: Path, rows: Sequence[Row]) -> None:
    """Put the table into a document."""
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n\n{render(rows)}\n\n{END}{after}")


def _reasons(omits: Mapping[str, str]) -> list[str]:
    kinds: dict[str, list[str]] = {}
    for kind, why in omits.items():
        kinds.setdefault(why, []).append(kind)
    return [f"Not {', '.join(names)}: {why}." for why, names in kinds.items()]


def _note(notes: dict[str, int], words: Iterable[str]) -> str:
    numbers = [str(notes.setdefault(each, len(notes) + 1)) for each in words]
    return f" ({', '.join(numbers)})" if numbers else ""


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
