"""Spans of several services meet in one trace, and exporting never disturbs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from imex.events import ids
from imex.observability.metrics import Metrics
from imex.observability.names import SpanName
from imex.observability.traces import Traces, traceparent_for, traceparent_of
from imex.settings import TracesSettings

NONE = TracesSettings(exporter="none")
STUDY = ("RQM", "1.2.3")
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def in_memory(service: str = "ingest") -> tuple[Traces, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    return Traces(service, NONE, exporter=exporter), exporter


def test_spans_of_two_services_are_children_of_the_root_that_a_third_exports() -> None:
    exporter = InMemorySpanExporter()
    for service in ("ingest", "validation"):
        with Traces(service, NONE, exporter=exporter).span(SpanName.ASSOCIATION, *STUDY):
            pass
    Traces("routing", NONE, exporter=exporter).export_root(
        *STUDY, START, START + timedelta(seconds=3), {"share": "x"}
    )
    first, second, root = exporter.get_finished_spans()
    assert root.context is not None
    assert root.parent is None
    assert root.context.trace_id == ids.trace_id(*STUDY)
    assert root.context.span_id == ids.root_span_id(*STUDY)
    assert (root.end_time or 0) - (root.start_time or 0) == 3_000_000_000
    for span in (first, second):
        assert span.parent is not None
        assert span.context is not None
        assert (span.context.trace_id, span.parent.span_id) == (root.context.trace_id, root.context.span_id)
    assert first.resource.attributes["service.name"] == "imex-ingest"


def test_a_span_inside_a_span_of_the_study_is_its_child_and_of_another_study_is_not() -> None:
    traces, exporter = in_memory()
    with traces.span(SpanName.DELIVER, *STUDY) as outer:
        with traces.span(SpanName.ATTEMPT, *STUDY, kind=SpanKind.CLIENT):
            pass
        with traces.span(SpanName.ATTEMPT, "RQM", "9.9"):
            pass
    inner, other, _ = exporter.get_finished_spans()
    assert inner.parent is not None
    assert other.parent is not None
    assert inner.parent.span_id == outer.get_span_context().span_id
    assert other.parent.span_id == ids.root_span_id("RQM", "9.9")


def test_an_explicit_parent_comes_first_and_a_malformed_one_is_ignored() -> None:
    traces, exporter = in_memory()
    with traces.span(SpanName.ASSOCIATION, *STUDY) as first:
        given = traceparent_of(first)
    with (
        traces.span(SpanName.VALIDATE, *STUDY, parent=given),
        traces.span(SpanName.ROUTE, *STUDY, parent="00-x"),
    ):
        pass
    _, ignored, child = exporter.get_finished_spans()
    assert child.parent is not None
    assert child.context is not None
    assert ignored.parent is not None
    assert child.parent.span_id == first.get_span_context().span_id
    assert ignored.parent.span_id == child.context.span_id


def test_the_root_traceparent_has_the_w3c_form() -> None:
    version, trace_id, span_id, flags = traceparent_for(*STUDY).split("-")
    assert (version, flags) == ("00", "01")
    assert trace_id == ids.trace_id_hex(*STUDY)
    assert int(span_id, 16) == ids.root_span_id(*STUDY)


def test_an_error_is_told_by_its_type_only() -> None:
    traces, exporter = in_memory()
    with pytest.raises(ValueError, match="Ada"), traces.span(SpanName.ROUTE, *STUDY):
        raise ValueError("Ada Lovelace")
    (span,) = exporter.get_finished_spans()
    assert span.status.description == "ValueError"
    assert not span.events


@contextmanager
def collector(status: int) -> Iterator[tuple[str, list[Any]]]:
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, json.loads(body)))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_zipkin_gets_the_spans_with_service_and_far_side() -> None:
    with collector(202) as (endpoint, received):
        traces = Traces("delivery", TracesSettings(exporter="zipkin", endpoint=endpoint))
        with traces.span(
            SpanName.ATTEMPT, *STUDY, kind=SpanKind.CLIENT, attributes={"peer.service": "RT3", "attempt": 1}
        ):
            pass
        assert traces.flush()
        traces.shutdown()
    ((path, [span]),) = received
    assert path == "/api/v2/spans"
    assert span["traceId"] == ids.trace_id_hex(*STUDY)
    assert span["parentId"] == f"{ids.root_span_id(*STUDY):016x}"
    assert span["localEndpoint"]["serviceName"] == "imex-delivery"
    assert span["remoteEndpoint"] == {"serviceName": "RT3"}
    assert span["tags"]["attempt"] == "1"


@pytest.mark.parametrize("away", [True, False])
def test_a_collector_that_is_away_or_refuses_disturbs_nobody_and_drops_are_counted(away: bool) -> None:
    metrics = Metrics("test")
    with collector(500) as (endpoint, _):
        settings = TracesSettings(exporter="zipkin", endpoint="http://127.0.0.1:9" if away else endpoint)
        traces = Traces("ingest", settings, metrics=metrics)
        for _ in range(3):
            with traces.span(SpanName.ROUTE, *STUDY):
                pass
        traces.flush()
        traces.shutdown()
    assert metrics.registry.get_sample_value("imex_traces_dropped_total") == 3


def test_an_exporter_without_endpoint_is_refused_by_the_variable_to_set() -> None:
    with pytest.raises(ValueError, match="IMEX_TRACES_ENDPOINT"):
        Traces("ingest", TracesSettings(exporter="otlp"))
