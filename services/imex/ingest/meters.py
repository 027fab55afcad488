"""What ingest counts."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Literal

from imex.observability import names
from imex.observability.metrics import Metrics

UNKNOWN_LANE = "unknown"

LimitName = Literal["associations", "in flight", "rate", "memory", "storage"]


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


class CertificateMeters:
    """How long the TLS port's certificates are good for."""

    def __init__(self, metrics: Metrics) -> None:
        """Made once for each registry."""
        self._expires = metrics.gauge(names.INGEST_CERTIFICATE_EXPIRES)
        self._sender_expires = metrics.gauge(names.INGEST_SENDER_CERTIFICATE_EXPIRES)

    def expires(self, which: str, seconds: float) -> None:
        """A certificate ends in so many seconds; below 0 it has ended."""
        self._expires.labels(which).set(seconds)

    def sender_expires(self, institution: str, seconds: float) -> None:
        """The certificate that an institution used last ends in so many seconds."""
        self._sender_expires.labels(institution).set(seconds)


class LimitMeters:
    """What is counted of the limits that all processes share, and of this process's own."""

    def __init__(self, metrics: Metrics) -> None:
        """Made once for each registry."""
        self._refused = metrics.counter(names.INGEST_LIMITED)
        self._let_in = metrics.counter(names.INGEST_LIMIT_DECISIONS)
        self._overshot = metrics.counter(names.INGEST_LIMIT_OVERSHOT)
        self._processes = metrics.gauge(names.INGEST_LIMIT_PROCESSES)
        self._known = metrics.gauge(names.INGEST_LIMIT_ASSOCIATIONS)

    def refused(self, limit: LimitName, scope: str, institution: str) -> None:
        """Something was refused for want of room."""
        self._refused.labels(limit, scope, institution).inc()

    def let_in(self, how: str) -> None:
        """An association was let in."""
        self._let_in.labels(how).inc()

    def overshot(self) -> None:
        """An association was let in at once, and the topic says that there was no room."""
        self._overshot.inc()

    def known(self, processes: int, associations: int) -> None:
        """What the topic says of all processes."""
        self._processes.set(processes)
        self._known.set(associations)


class StoreMeters:
    """What is known of the object store's room."""

    def __init__(self, metrics: Metrics) -> None:
        """Made once for each registry; nothing is known at first."""
        self._used = metrics.gauge(names.STORE_USED)
        self._total = metrics.gauge(names.STORE_TOTAL)
        self._refusing = metrics.gauge(names.STORE_REFUSING)
        self.fill_unknown()

    def fill(self, used: int, total: int, *, refusing: bool) -> None:
        """As was read."""
        self._used.set(used)
        self._total.set(total)
        self._refusing.set(int(refusing))

    def fill_unknown(self) -> None:
        """It could not be read for a while."""
        self._used.set(math.nan)
        self._total.set(math.nan)
        self._refusing.set(0)
