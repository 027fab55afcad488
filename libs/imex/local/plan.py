"""What a supervisor is given: stages of parts, each with a task that follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from imex.local.process import Launch


@dataclass(frozen=True)
class Task:
    """A command that runs to its end between two stages; the stage after it waits for its success."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    within_s: float = 120.0


@dataclass(frozen=True)
class Stage:
    """Parts that are started together, and the task that follows once all are ready."""

    parts: Sequence[Launch]
    then: Task | None = None
