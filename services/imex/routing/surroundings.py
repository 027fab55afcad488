"""What routing's handlers and loops share: the directory, traces, a clock, and who counts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from imex.directory import DirectoryIndex
from imex.observability.traces import Traces
from imex.routing.background import Backgrounds, LocalMarking
from imex.runtime import Transient
from imex.sharing.model import Share


class Directories(Protocol):
    """The directory as it is known here."""

    def current(self) -> DirectoryIndex | None:
        """The version in force; None while it is not known yet."""
        ...

    async def wait_for(self, version: str) -> None:
        """Return once this version, or a later one, is known here."""
        ...


def utc_now() -> datetime:
    """The clock of a running service."""
    return datetime.now(UTC)


def uncounted(_share: Share) -> None:
    """Where nobody measures."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a handler needs beside its messages and its transaction."""

    directories: Directories
    traces: Traces
    clock: Callable[[], datetime] = utc_now
    moved: Callable[[Share], None] = uncounted
    """Told of each share that has reached another state."""
    default_quiet_s: float = 60.0
    """Seconds without a new instance after which a study is complete, where no rule states its own."""
    association_grace_s: float = 90.0
    """Seconds to wait for the end of an association that is never heard of."""
    open_requests: int = 200
    """Of one institution to one holder that are open at a time."""
    requests_a_day: int = 500
    """Of one institution to one holder that are made in a day, whatever becomes of them."""
    backgrounds: Backgrounds = field(default_factory=lambda: Backgrounds(LocalMarking()))
    """Looks up what is marked of people's records, and where studies have been."""

    def index(self) -> DirectoryIndex:
        """The directory in force.

        Raises:
            Transient: none is known yet; with an empty one in its place everything would be refused.
        """
        found = self.directories.current()
        if found is None:
            raise Transient("the directory is not known yet")
        return found
