"""What can be wrong with a directory file, in words a person can act on."""

from collections.abc import Sequence
from dataclasses import dataclass

Location = tuple[str | int, ...]
"""Path of a field from the document's root, e.g. ``("rules", 0, "to", 1)``."""


@dataclass(frozen=True, slots=True)
class DirectoryError:
    """One finding: the line (from 1; 0 = the document as a whole), the field, and what to do."""

    line: int
    field: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}" if self.line else "document"
        return f"{where}: {self.field}: {self.message}" if self.field else f"{where}: {self.message}"


class DirectoryErrors(ValueError):
    """A directory file was not accepted; every finding is in ``errors``, in order of line."""

    def __init__(self, errors: Sequence[DirectoryError]) -> None:
        self.errors: tuple[DirectoryError, ...] = tuple(
            sorted(errors, key=lambda e: (e.line, e.field, e.message))
        )
        super().__init__("\n".join(str(error) for error in self.errors))


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding before its line is known."""

    loc: Location
    message: str


_MAX_NAME = 64


def spell(loc: Location) -> str:
    """Spell a location the way people write it: ``institutions[0].endpoints[1].port``."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part[:_MAX_NAME]}" if text else part[:_MAX_NAME]
    return text
