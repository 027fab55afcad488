"""What ingest counts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Literal

from imex.observability import names
from imex.observability.metrics import Metrics

UNKNOWN_LANE = "unknown"


class Meters:
    """The collectors of one process."""

    def __init__(self, metrics: Metrics) -> None:
        """Made once for each registry."""
        self._metrics = metrics
        self._associations = metrics.counter(names.INGEST_ASSOCIATIONS)
        self._open = metrics.gauge(names.INGEST_ASSOCIATIONS_OPEN)
        self._instances = metrics.counter(names.INGEST_INSTANCES)
        self._bytes = metrics.counter(names.INGEST_BYTES)
        self._store_seconds = metrics.histogram(names.INGEST_STORE_SECONDS)
        self._step_seconds = metrics.histogram(names.INGEST_STEP_SECONDS)
        self._dropped = metrics.counter(names.INGEST_BACKGROUND_DROPPED)

    def watch(self, in_flight: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Read these two when metrics are asked for."""
        self._metrics.gauge(names.INGEST_IN_FLIGHT).set_function(in_flight)
        self._metrics.gauge(names.INGEST_BACKGROUND_WAITING).set_function(waiting)

    def opened(self) -> None:
        """An association began."""
        self._open.inc()

    def ended(self, outcome: str) -> None:
        """An association ended."""
        self._open.dec()
        self._associations.labels(outcome).inc()

    def rejected(self, reason: str) -> None:
        """An association was turned away."""
        self._associations.labels(f"rejected: {reason}").inc()

    def answered(self, status: int, lane: str | None, seconds: float) -> None:
        """A C-STORE was answered; `lane` is None where none was chosen."""
        self._instances.labels(lane or UNKNOWN_LANE, f"{status:04X}").inc()
        self._store_seconds.labels(lane or UNKNOWN_LANE).observe(seconds)

    def safe(self, size: int) -> None:
        """A data set of so many bytes is safe."""
        self._bytes.inc(size)

    @contextmanager
    def step(self, name: Literal["store", "broker"]) -> Iterator[None]:
        """Time one step on the way to SUCCESS."""
        started = perf_counter()
        try:
            yield
        finally:
            self._step_seconds.labels(name).observe(perf_counter() - started)

    def dropped(self, event_type: str) -> None:
        """A background event was given up."""
        self._dropped.labels(event_type).inc()
