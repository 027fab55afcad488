"""Spans, the DICOM server's health, and a component that may start late."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from imex.dimse import AssociationRejected, connect
from imex.events.ids import root_span_id, trace_id
from imex.ingest.adapters import CountingObserver, DicomServer, Eventually, TraceSpans, new_id
from imex.ingest.handler import IngestPolicy
from imex.ingest.meters import Meters
from imex.ingest.settings import DicomSettings
from imex.observability.metrics import Metrics
from imex.observability.traces import Traces
from imex.runtime.health import Health
from imex.settings import TracesSettings

CONTEXTS = [("1.2.840.10008.1.1", ["1.2.840.10008.1.2"])]


def test_an_association_is_a_child_of_the_studys_root_and_begins_when_it_began() -> None:
    exporter = InMemorySpanExporter()
    spans = TraceSpans(Traces("ingest", TracesSettings(), exporter=exporter))
    began = datetime.now(UTC) - timedelta(minutes=5)
    span = spans.association("RQM", "1.2.3", uuid4(), began)
    assert exporter.get_finished_spans() == ()
    span.end(received=3, refused=1, outcome="released")
    (finished,) = exporter.get_finished_spans()
    assert finished.parent is not None
    assert finished.context is not None
    assert finished.parent.span_id == root_span_id("RQM", "1.2.3")
    assert finished.context.trace_id == trace_id("RQM", "1.2.3")
    assert span.traceparent == f"00-{finished.context.trace_id:032x}-{finished.context.span_id:016x}-01"
    assert finished.start_time is not None
    assert abs(finished.start_time / 1e9 - began.timestamp()) < 0.001
    assert finished.attributes is not None
    assert (finished.attributes["imex.received"], finished.attributes["imex.refused"]) == (3, 1)
    assert finished.status.status_code is StatusCode.ERROR


def test_ids_are_in_order_of_time() -> None:
    made = [new_id() for _ in range(100)]
    assert made == sorted(made)
    assert {each.version for each in made} == {7}


async def test_the_dicom_server_is_ready_only_while_it_takes_associations(world: Any) -> None:
    settings = DicomSettings.model_validate({"host": "127.0.0.1", "port": 0})
    server = DicomServer(
        settings, IngestPolicy(world.around), CountingObserver(world.around.meters), drain_s=0.1
    )
    assert not server.health().ready
    await server.start()
    assert server.health().ready
    assert server.port > 0
    await server.stop()
    assert not server.health().ready
    assert server.health().live


async def test_every_rejection_is_counted_by_its_reason(world: Any) -> None:
    settings = DicomSettings.model_validate({"host": "127.0.0.1", "port": 0, "max_associations": 1})
    metrics = Metrics("ingest")
    server = DicomServer(settings, IngestPolicy(world.around), CountingObserver(Meters(metrics)), drain_s=0.1)
    await server.start()

    async def attempt(calling: str, called: str) -> None:
        with pytest.raises(AssociationRejected):
            async with connect("127.0.0.1", server.port, calling, called, CONTEXTS):
                pass

    await attempt("NOBODY", "IMEX")
    await attempt("RQM_PACS", "NOWHERE")
    async with connect("127.0.0.1", server.port, "RQM_PACS", "IMEX", CONTEXTS):
        await attempt("RQM_PACS", "IMEX")
    await server.stop()
    shown = metrics.render().decode()
    for reason in ("calling AE title", "called AE title", "limit"):
        assert f'imex_ingest_associations_total{{outcome="rejected: {reason}"}} 1.0' in shown


class Slow:
    """A component whose start takes as long as a test wants."""

    name = "slow"

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.failure: Exception | None = None
        self.stopped = False

    async def start(self) -> None:
        await self.go.wait()
        if self.failure is not None:
            raise self.failure

    async def stop(self) -> None:
        self.stopped = True

    def health(self) -> Health:
        return Health(ready=self.go.is_set(), detail="" if self.go.is_set() else "connecting")


async def test_what_may_start_late_holds_nobody_up() -> None:
    slow = Slow()
    eventually = Eventually(slow)
    async with asyncio.timeout(1):
        await eventually.start()
    assert eventually.health() == Health(ready=True, detail="connecting")
    slow.go.set()
    await asyncio.sleep(0)
    assert eventually.health() == Health()
    await eventually.stop()
    assert slow.stopped


async def test_what_could_not_start_at_all_asks_for_a_restart() -> None:
    slow = Slow()
    slow.failure = ValueError("no such mechanism")
    eventually = Eventually(slow)
    await eventually.start()
    slow.go.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not eventually.health().live
    await eventually.stop()


async def test_stopping_before_the_start_is_over_ends_it() -> None:
    slow = Slow()
    eventually = Eventually(slow)
    await eventually.start()
    async with asyncio.timeout(1):
        await eventually.stop()
    assert slow.stopped
    assert eventually.health().live
