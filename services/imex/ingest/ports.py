"""What ingest needs from its surroundings, and the bundle of it that handlers are given."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from imex.directory import DirectoryIndex
from imex.events import Event, Identity, Sealed
from imex.ingest.budget import Budget
from imex.ingest.lanes import LaneMemory
from imex.ingest.meters import Meters
from imex.storage import ObjectStore

MIB = 1024 * 1024


class Span(Protocol):
    """A span of one study's passage through one association."""

    traceparent: str

    def end(self, *, received: int, refused: int, outcome: str) -> None:
        """It is over."""


class Spans(Protocol):
    """Makes spans whose parent is the study's derived root."""

    def association(self, source: str, study_uid: str, association: UUID, started_at: datetime) -> Span:
        """Begin the span of a study in an association that began at `started_at`."""


class Background(Protocol):
    """Publishes what nobody waits for."""

    def offer(self, event: Event[Any]) -> None:
        """Publish soon, again and again while the broker is away; never blocks."""

    def spawn(self, chore: Coroutine[Any, Any, None]) -> None:
        """Let a chore run that nobody waits for."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Sizes in bytes, times in seconds."""

    single_put_bytes: int = 8 * MIB
    """Objects up to this size are one PUT; larger ones stream."""
    safe_within_s: float = 17.0
    """From the last byte of a data set to an answer; a client that waits 20 s gets one."""
    studies: int = 10_000
    """That one association may carry: a bound on memory."""
    budget_wait_s: float = 10.0
    """How long a data set may wait for memory."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything outside that the handlers use."""

    own_ae_title: str
    directory: Callable[[], DirectoryIndex | None]
    store: ObjectStore
    publish: Callable[[Event[Any]], Awaitable[None]]
    """Returns once the broker has acknowledged; raises within a bound otherwise."""
    background: Background
    seal: Callable[[Identity, str], Sealed]
    """Seals facts so that they belong to an object's key."""
    spans: Spans
    meters: Meters
    lanes: LaneMemory
    budget: Budget
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]
    tuning: Tuning = Tuning()
