"""Ingest's surroundings, made of the real parts."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from ssl import SSLContext
from uuid import UUID

import structlog
from opentelemetry.trace import Span, SpanKind, StatusCode
from uuid_utils.compat import uuid7

from imex.dimse import (
    Acceptor,
    AcceptorObserver,
    AcceptorPolicy,
    AssociationRequest,
    Edge,
    Limits,
    Reject,
    serve,
)
from imex.dimse.memory import ReceiveMemory
from imex.dimse.service import FailedStage
from imex.events.ids import root_traceparent
from imex.ingest.meters import Meters
from imex.ingest.settings import DicomSettings
from imex.observability.names import SpanName
from imex.observability.sparing import Sparing
from imex.observability.traces import Traces, traceparent_for, traceparent_of
from imex.runtime.backoff import ended
from imex.runtime.health import Component, Health
from imex.runtime.tracing import context_of

log = structlog.get_logger(__name__)

_AFTER_DRAIN_S = 15.0
_AUDITED = frozenset({(1, 3), (1, 7)})
_REJECTIONS = {
    (1, 3): "calling AE title",
    (1, 7): "called AE title",
    (3, 1): "congestion",
    (3, 2): "limit",
}


def utc_now() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """A new UUID of version 7 (RFC 9562): in order of time, so that objects are listed as they came."""
    return UUID(int=uuid7().int)


class StudySpan:
    """The span of a study in one association (imex.ingest.ports.Span)."""

    def __init__(self, span: Span, fallback: str) -> None:
        self._span = span
        self.traceparent = traceparent_of(span) or fallback

    def end(self, *, received: int, refused: int, outcome: str) -> None:
        """Say how it went."""
        self._span.set_attributes(
            {"imex.received": received, "imex.refused": refused, "imex.association.outcome": outcome}
        )
        if refused or outcome != "released":
            self._span.set_status(StatusCode.ERROR, outcome)
        self._span.end()


class TraceSpans:
    """Spans through OpenTelemetry (imex.ingest.ports.Spans)."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def association(self, source: str, study_uid: str, association: UUID, started_at: datetime) -> StudySpan:
        """A child of the study's root, begun when the association began."""
        span = self._traces.tracer.start_span(
            SpanName.ASSOCIATION,
            context=context_of(traceparent_for(source, study_uid)),
            kind=SpanKind.SERVER,
            attributes={
                "imex.source": source,
                "imex.study_uid": study_uid,
                "imex.association": str(association),
            },
            start_time=int(started_at.timestamp() * 1_000_000) * 1000,
        )
        return StudySpan(span, root_traceparent(source, study_uid))


class CountingObserver:
    """Counts what was turned away, by the policy or before it (imex.dimse.AcceptorObserver)."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._sparing = Sparing()

    def rejected(self, request: AssociationRequest, reject: Reject) -> None:
        """An association was rejected; who by is told by source and reason (PS3.8 table 9-21)."""
        self._meters.rejected(_REJECTIONS.get((reject.source, reject.reason), "not acceptable"))
        if (reject.source, reject.reason) not in _AUDITED:
            log.warning("association rejected", calling_ae=request.calling_ae, reason=reject.words)

    def failed(self, peer_host: str, words: str, stage: FailedStage) -> None:
        """A connection ended before it asked for an association."""
        self._meters.rejected(f"no {stage}")
        # An operator needs to see why a sender's TLS fails; a crowd of strangers must not fill the log.
        said = log.info if stage in {"tls handshake", "proxy header"} and self._sparing() else log.debug
        said("connection without an association", peer=peer_host, reason=words)


class DicomServer:
    """The acceptor as a component: unready while it starts and while it drains."""

    name = "dicom"

    def __init__(
        self,
        settings: DicomSettings,
        policy: AcceptorPolicy,
        observer: AcceptorObserver,
        drain_s: float,
        *,
        tls: Callable[[], SSLContext] | None = None,
        memory: ReceiveMemory | None = None,
    ) -> None:
        """`tls` gives the context for each handshake on the TLS port, where the settings want one.

        `memory` is what connections receive into.
        """
        self._memory = memory
        self._settings = settings
        self._tls = tls
        self._policy = policy
        self._observer = observer
        self._drain_s = drain_s
        self.stop_within_s = drain_s + _AFTER_DRAIN_S
        self._acceptor: Acceptor | None = None
        self._detail = "starting"

    @property
    def port(self) -> int:
        """The plain port it listens on; 0 before it does, or where there is none."""
        return self._acceptor.port if self._acceptor else 0

    @property
    def tls_port(self) -> int:
        """The TLS port it listens on; 0 before it does, or where there is none."""
        return self._acceptor.tls_port if self._acceptor else 0

    async def start(self) -> None:
        """Listen. Raises OSError where a port is taken."""
        settings = self._settings
        limits = Limits(
            associations=settings.max_associations,
            handshake_s=settings.handshake_s,
            handshakes_per_address=settings.handshakes_per_address,
        )
        edge = Edge(
            tls_port=settings.tls_port,
            tls=self._tls,
            balancers=settings.proxy_networks,
            shared=settings.shared_port,
            memory=self._memory,
        )
        self._acceptor = await serve(
            settings.host, settings.port, self._policy, limits, observer=self._observer, edge=edge
        )
        self._detail = ""

    async def stop(self) -> None:
        """Take no new associations, let those that are open finish, then abort the rest."""
        self._detail = "draining"
        if self._acceptor is not None:
            await self._acceptor.drain(self._drain_s)

    def health(self) -> Health:
        """Ready while it takes associations, whatever the store and the broker do."""
        return Health(ready=not self._detail, detail=self._detail)


class Eventually:
    """A component that ingest can begin without: it starts by itself, and never makes ingest unready."""

    def __init__(self, component: Component) -> None:
        self._component = component
        self._starting: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The component's own."""
        return self._component.name

    async def start(self) -> None:
        """Let it start, and go on."""
        self._starting = asyncio.create_task(self._component.start())

    async def stop(self) -> None:
        """Stop it, whether it has started or not."""
        if self._starting is not None:
            await ended(self._starting)
        await self._component.stop()

    def health(self) -> Health:
        """What it says, and ready all the same; not live where it could not start at all."""
        health = self._component.health()
        starting = self._starting
        failed = starting.exception() if starting and starting.done() and not starting.cancelled() else None
        if failed is not None:
            return Health(
                live=False, ready=True, detail=f"{self.name} did not start: {type(failed).__name__}"
            )
        return Health(live=health.live, ready=True, detail=health.detail)
