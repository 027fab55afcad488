"""What ingest needs from its surroundings, and the bundle of it that handlers are given."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from imex.directory import DirectoryIndex
from imex.directory.certificates import CertificateFacts
from imex.events import Event, Identity, Lane, Sealed
from imex.ingest.company import Company
from imex.ingest.lanes import LaneMemory
from imex.ingest.meters import LimitMeters, Meters
from imex.ingest.traffic import Traffic
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


class Doors(Protocol):
    """Lets associations in, within the limits that all processes share."""

    async def enter(self, institution: str) -> Callable[[], None]:
        """Let one in; what is returned is called when it has ended. Raises limits.limiter.Overfull."""


class Fill(Protocol):
    """How full the object store is."""

    def refusal(self, lane: Lane) -> str | None:
        """Why nothing more may be stored in this lane, in words for a sender; None where it may."""


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
    """How long a data set may wait for memory, or because of a rate."""


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
    traffic: Traffic
    doors: Doors
    fill: Fill
    company: Company
    limit_meters: LimitMeters
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]
    tuning: Tuning = Tuning()
    certificate_shown: Callable[[str, CertificateFacts], None] = lambda institution, certificate: None
    """An institution has begun an association with this certificate."""
