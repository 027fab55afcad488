"""What every request works with."""

from dataclasses import dataclass, field

from fastapi import Request

from imex.db import Database
from imex.observability.metrics import Metrics
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
