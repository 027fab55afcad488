"""Where the time of a study went: between the steps of its share, and inside each service by its trace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx2

_HOPS = (
    ("received", "validated", "ingest → validation"),
    ("received", "completed", "until the study was complete (it must be quiet for a while)"),
    ("completed", "delivered", "routing → delivery → hospital B"),
    ("received", "delivered", "all of it"),
)


def where_the_time_went(
    traces: str, steps: Sequence[Mapping[str, Any]], share: Mapping[str, Any]
) -> Iterator[str]:
    """Lines for people: a hop each with its seconds, then the work of each service by its spans."""
    first: dict[str, datetime] = {}
    for step in steps:
        first.setdefault(step["step"], datetime.fromisoformat(step["at"]))
    yield ""
    yield "where the time went"
    for begin, end, words in _HOPS:
        if begin in first and end in first:
            yield f"  {(first[end] - first[begin]).total_seconds():7.2f} s  {words}"
    for service, (spans, busy_s) in sorted(_by_service(traces, share["trace_id"]).items()):
        yield f"  {busy_s:7.2f} s  in {spans} spans of {service}"


def _by_service(traces: str, trace_id: str) -> Mapping[str, tuple[int, float]]:
    """Spans and seconds of each service; empty when Zipkin does not know the trace (yet)."""
    found: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    try:
        response = httpx2.get(f"{traces}/api/v2/trace/{trace_id}", timeout=5.0)
    except httpx2.HTTPError:
        return found
    if response.status_code != httpx2.codes.OK:
        return found
    for span in response.json():
        name = span.get("localEndpoint", {}).get("serviceName", "unknown")
        spans, busy_s = found[name]
        found[name] = (spans + 1, busy_s + span.get("duration", 0) / 1e6)
    return found
