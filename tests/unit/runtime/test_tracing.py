"""Spans around handlers."""

from datetime import UTC, datetime

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Tracer

from imex.events.ids import root_span_id, root_traceparent, trace_id
from imex.runtime.message import Message, RawRecord
from imex.runtime.tracing import context_of, handling
from imex.testing.runtime import sample_event


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test")


def message(study: str, offset: int = 0, traceparent: str | None = None) -> Message:
    raw = RawRecord("t", 0, offset, 0, b"k", b"v")
    parent = traceparent or root_traceparent("RQM", study)
    return Message("t", 0, offset, datetime.now(UTC), "k", sample_event(study), parent, raw)


def test_a_record_alone_is_a_child(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with handling(tracer, "g", [message("s", 7)]):
        pass
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert span.context.trace_id == trace_id("RQM", "s")
    assert span.parent.span_id == root_span_id("RQM", "s")
    assert span.kind is SpanKind.CONSUMER
    assert span.attributes is not None
    assert span.attributes["messaging.kafka.offset"] == 7
    assert not span.links


def test_a_batch_of_several_studies_links_to_each(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with handling(tracer, "g", [message("a"), message("b", 1), message("a", 2)]):
        pass
    (span,) = exporter.get_finished_spans()
    assert span.parent is None
    assert {link.context.trace_id for link in span.links} == {trace_id("RQM", "a"), trace_id("RQM", "b")}
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 3


def test_a_batch_of_one_study_is_in_its_trace(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with handling(tracer, "g", [message("a"), message("a", 1)]):
        pass
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert span.context.trace_id == trace_id("RQM", "a")


def test_a_failure_is_named_by_its_kind_only(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="DOE"), handling(tracer, "g", [message("a")]):
        raise ValueError("DOE^JANE")
    (span,) = exporter.get_finished_spans()
    assert span.status.description == "ValueError"
    assert not span.events


@pytest.mark.parametrize("header", [None, "", "junk", "00-0-0-01", f"00-{0:032x}-{1:016x}-01"])
def test_a_malformed_parent_is_no_parent(header: str | None) -> None:
    assert context_of(header) is None
