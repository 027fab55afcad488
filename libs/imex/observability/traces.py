"""Traces whose ids follow from the study, so that five services meet in one trace without having met.

The trace id and the root span's id are hashes over source and study UID (``imex.events.ids``). Every span
names that root, or a span below it, as its parent; routing exports the root itself when a share ends.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from imex.events import ids
from imex.observability.exporters import exporter_for
from imex.observability.metrics import Metrics
from imex.observability.names import SPANS_DROPPED, SpanName
from imex.settings import TracesSettings

QUEUE_SPANS = 8192
BATCH_SPANS = 512
SCHEDULE_MS = 500

Attributes = Mapping[str, AttributeValue]
_GIVEN: ContextVar[tuple[int, int] | None] = ContextVar("imex_given_span", default=None)
_PROPAGATOR = TraceContextTextMapPropagator()


class StudyIds(IdGenerator):
    """Random ids, except where the ids of a study's root are given for the span being started."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_trace_id(self) -> int:
        """The given trace id, else a random one."""
        given = _GIVEN.get()
        return given[0] if given else self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        """The given span id, else a random one."""
        given = _GIVEN.get()
        return given[1] if given else self._random.generate_span_id()


def traceparent_for(source: str, study_uid: str) -> str:
    """The W3C ``traceparent`` that makes a span a child of the study's root."""
    return ids.root_traceparent(source, study_uid)


def traceparent_of(span: Span) -> str | None:
    """The ``traceparent`` that makes a span a child of this one; None for a span that does not exist."""
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"


class Traces:
    """The tracer of one service. Exporting never disturbs: it is bounded, apart, and failures are counted."""

    def __init__(
        self,
        service: str,
        settings: TracesSettings,
        *,
        metrics: Metrics | None = None,
        exporter: SpanExporter | None = None,
    ) -> None:
        """``exporter`` takes every span at once, in place of what the settings name (for tests)."""
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource({"service.name": f"imex-{service}"}),
            id_generator=StudyIds(),
            span_limits=SpanLimits(max_attributes=64, max_events=64, max_links=64, max_attribute_length=512),
            shutdown_on_exit=False,
        )
        if exporter is not None:
            self._provider.add_span_processor(SimpleSpanProcessor(exporter))
        else:
            dropped = metrics.counter(SPANS_DROPPED).inc if metrics else None
            chosen = exporter_for(settings, on_drop=dropped)
            if chosen is not None:
                self._provider.add_span_processor(
                    BatchSpanProcessor(
                        chosen,
                        max_queue_size=QUEUE_SPANS,
                        max_export_batch_size=BATCH_SPANS,
                        schedule_delay_millis=SCHEDULE_MS,
                    )
                )
        self.tracer: Tracer = self._provider.get_tracer("imex")

    @contextmanager
    def span(
        self,
        name: SpanName,
        source: str,
        study_uid: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
        parent: str | None = None,
    ) -> Iterator[Span]:
        """A span of the study's trace, current inside the block.

        Its parent is ``parent`` (a ``traceparent``), else the current span where that is of this study's
        trace, else the study's root. An exception sets the error status to its type's name, no more.
        """
        with self.tracer.start_as_current_span(
            name,
            context=self._parent(source, study_uid, parent),
            kind=kind,
            attributes=dict(attributes or {}),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except Exception as error:
                span.set_status(StatusCode.ERROR, type(error).__name__)
                raise

    def export_root(
        self,
        source: str,
        study_uid: str,
        start: datetime,
        end: datetime,
        attributes: Attributes | None = None,
    ) -> None:
        """Export the study's root span, with exactly the id that every service took as parent."""
        token = _GIVEN.set((ids.trace_id(source, study_uid), ids.root_span_id(source, study_uid)))
        try:
            root = self.tracer.start_span(
                SpanName.STUDY,
                context=Context(),
                attributes=dict(attributes or {}),
                start_time=_nanoseconds(start),
            )
        finally:
            _GIVEN.reset(token)
        root.end(end_time=max(_nanoseconds(end), _nanoseconds(start)))

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Export what waits; False where that did not end in time."""
        return self._provider.force_flush(int(timeout_s * 1000))

    def shutdown(self) -> None:
        """Export what waits, then stop; blocks for seconds at most, so call it in a thread."""
        self._provider.shutdown()

    @staticmethod
    def _parent(source: str, study_uid: str, parent: str | None) -> Context:
        if parent:
            context = _PROPAGATOR.extract({"traceparent": parent}, Context())
            if get_current_span(context).get_span_context().is_valid:
                return context
        trace_id = ids.trace_id(source, study_uid)
        current = get_current_span()
        if current.get_span_context().trace_id == trace_id:
            return set_span_in_context(current)
        root = SpanContext(
            trace_id,
            ids.root_span_id(source, study_uid),
            is_remote=True,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
        )
        return set_span_in_context(NonRecordingSpan(root), Context())


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1000
