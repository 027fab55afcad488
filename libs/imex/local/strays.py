"""Finding the processes of a stack without its pid files: by a mark in their environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imex.local.process import Identity

MARK_HOME = "IMEX_STACK_HOME"
MARK_PART = "IMEX_STACK_PART"


def strays(root: Path, part: str | None = None) -> Iterator[Identity]:
    """Every running process that was started for this home (and this part), whoever its parent is now."""
    home = f"{MARK_HOME}={root}".encode()
    wanted = None if part is None else f"{MARK_PART}={part}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            marks = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if home in marks and (wanted is None or wanted in marks):
            identity = Identity.of(int(entry.name))
            if identity is not None:
                yield identity
