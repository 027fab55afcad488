"""A log line is one JSON object that says what it is about, and never shows an input's values."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import psycopg.errors
import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError

from imex.events import ids
from imex.observability.logs import about, configure_logging
from imex.observability.names import SpanName
from imex.observability.traces import Traces
from imex.settings import TracesSettings


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("ingest", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_service_time_level_and_facts(stream: io.StringIO) -> None:
    structlog.get_logger("imex.ingest").info("association accepted", calling_ae="RQM_PACS")
    (line,) = lines(stream)
    assert line["service"] == "ingest"
    assert line["event"] == "association accepted"
    assert line["calling_ae"] == "RQM_PACS"
    assert line["level"] == "info"
    assert line["time"].endswith("Z")


def test_trace_and_share_are_in_every_line_about_them(stream: io.StringIO) -> None:
    traces = Traces("ingest", TracesSettings(exporter="none"), exporter=InMemorySpanExporter())
    with traces.span(SpanName.ROUTE, "RQM", "1.2.3"), about(share="s-1", study_uid="1.2.3"):
        structlog.get_logger().info("inside")
    structlog.get_logger().info("outside")
    inside, outside = lines(stream)
    assert inside["trace_id"] == ids.trace_id_hex("RQM", "1.2.3")
    assert len(inside["span_id"]) == 16
    assert (inside["share"], inside["study_uid"]) == ("s-1", "1.2.3")
    assert not {"trace_id", "share", "study_uid"} & set(outside)


def test_the_standard_library_goes_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("some.library").warning("at %d", 5)
    (line,) = lines(stream)
    assert (line["event"], line["service"], line["logger"]) == ("at 5", "ingest", "some.library")


def test_an_exception_is_told_with_its_place_and_cause(stream: io.StringIO) -> None:
    try:
        try:
            raise ConnectionRefusedError("connection refused")
        except ConnectionRefusedError as error:
            raise RuntimeError("broker away") from error
    except RuntimeError:
        structlog.get_logger().exception("publishing failed")
    (line,) = lines(stream)
    assert line["error"]["type"] == "builtins.RuntimeError"
    assert line["error"]["words"] == "broker away"
    assert "test_logs.py" in line["error"]["at"][-1]
    assert "connection refused" in line["error"]["cause"]


def test_a_validation_error_shows_fields_but_no_values(stream: io.StringIO) -> None:
    class Facts(BaseModel):
        rows: int

    try:
        Facts.model_validate({"rows": "Ada Lovelace"})
    except ValueError:
        structlog.get_logger().exception("bad facts")
    assert "Ada" not in stream.getvalue()
    assert "rows: int_parsing" in stream.getvalue()


def test_an_error_of_the_database_shows_neither_parameters_nor_rows(stream: io.StringIO) -> None:
    refused = psycopg.errors.UniqueViolation("Key (patient_name)=(Doe^Jane) already exists.")
    try:
        # a driver error as SQLAlchemy wraps it
        raise IntegrityError("INSERT ... VALUES (%(name)s)", {"name": "Doe^Jane"}, refused) from refused
    except IntegrityError:
        structlog.get_logger().exception("writing failed")
    (line,) = lines(stream)
    assert "Doe" not in json.dumps(line)
    assert line["error"]["words"] == "kind UniqueViolation, sqlstate 23505"


@pytest.mark.parametrize("value", ["Doe^Jane", "O'Neil^Doe", 'a "b" Doe'])
def test_what_a_conversion_or_a_mapping_was_given_is_not_quoted(stream: io.StringIO, value: str) -> None:
    known: dict[str, int] = {}
    for convert in (int, known.__getitem__):
        try:
            convert(value)
        except (ValueError, KeyError):
            structlog.get_logger().exception("reading failed")
    assert "Doe" not in stream.getvalue()
    assert lines(stream)[0]["error"]["words"].startswith("invalid literal for int()")
