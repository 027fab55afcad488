"""What every request works with."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from fastapi import Request

from imex.db import Database
from imex.dicomweb.outcome import StowOutcome
from imex.dicomweb.statement import Statement
from imex.observability.metrics import Metrics
from imex.portal.archive import Downloads
from imex.portal.auth.attempts import SignInAttempts
from imex.portal.auth.forms import FormTokens
from imex.portal.settings import PortalSettings
from imex.runtime.producer import Producer
from imex.runtime.reader import TopicReader
from imex.sealing import Sealer
from imex.storage.port import ObjectStore


@dataclass(frozen=True, slots=True)
class Broker:
    """Kafka, for what is read from it directly and for dead letters that are put back."""

    reader: TopicReader
    producer: Producer


class TakesStudies(Protocol):
    """Where store transactions go."""

    async def store(self, statement: Statement, address: str, body: AsyncIterator[bytes]) -> StowOutcome:
        """Hand one request of a known institution on; raises Problem where nothing was stored."""
        ...


@dataclass
class Portal:
    """The portal's parts, made by `main` or by a test, and reached through the application's state."""

    settings: PortalSettings
    database: Database
    documents: ObjectStore
    metrics: Metrics
    payloads: ObjectStore
    """Where images lie."""
    sealer: Sealer | None = None
    broker: Broker | None = None
    """Reads Kafka for reconciliation and dead letters; None where there is none."""
    ingest: TakesStudies | None = None
    """Takes what is sent by STOW-RS; None where that is not set up."""
    downloads: Downloads = field(default_factory=Downloads)
    retrievals: Downloads = field(default_factory=lambda: Downloads(total=48, each=12))
    """By DICOMweb, whose clients ask for several things at a time."""
    headers: Downloads = field(default_factory=lambda: Downloads(total=24, each=8))
    """Of whole studies or series, by DICOMweb: headers can be large, and several are held in memory."""
    images: Downloads = field(default_factory=lambda: Downloads(total=48, each=12))
    """And headers, one by one."""
    searches: Downloads = field(default_factory=lambda: Downloads(total=24, each=8))
    """By DICOMweb: each reads headers from the object store."""
    command_wait_s: float = 5.0
    attempts: SignInAttempts = field(default_factory=SignInAttempts)
    forms: FormTokens = field(init=False)

    def __post_init__(self) -> None:
        self.forms = FormTokens(self.settings.secret.get_secret_value())


def portal_of(request: Request) -> Portal:
    """The portal that serves `request`."""
    portal = request.app.state.portal
    assert isinstance(portal, Portal)
    return portal
