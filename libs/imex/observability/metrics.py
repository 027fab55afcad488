"""Prometheus metrics from the registry of names, each service with a collector registry of its own."""

from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from imex.observability import names
from imex.observability.names import CounterName, GaugeName, HistogramName

_Kind = TypeVar("_Kind", Counter, Gauge, Histogram)


class Metrics:
    """The metrics of one process. Asking twice for a name gives the same metric."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._made: dict[str, Counter | Gauge | Histogram] = {}
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.gauge(names.BUILD).labels(service=service, version=_version()).set(1)

    def counter(self, name: CounterName) -> Counter:
        """The counter of that name."""
        if name.name not in self._made:
            self._made[name.name] = Counter(name.name, name.help, name.labels, registry=self.registry)
        return self._as(name.name, Counter)

    def gauge(self, name: GaugeName) -> Gauge:
        """The gauge of that name."""
        if name.name not in self._made:
            self._made[name.name] = Gauge(name.name, name.help, name.labels, registry=self.registry)
        return self._as(name.name, Gauge)

    def histogram(self, name: HistogramName) -> Histogram:
        """The histogram of that name."""
        if name.name not in self._made:
            self._made[name.name] = Histogram(
                name.name, name.help, name.labels, buckets=name.buckets, registry=self.registry
            )
        return self._as(name.name, Histogram)

    def render(self) -> bytes:
        """The text exposition, as ``/metrics`` answers it with ``content_type``."""
        return generate_latest(self.registry)

    def _as(self, name: str, kind: type[_Kind]) -> _Kind:
        made = self._made[name]
        if not isinstance(made, kind):
            raise TypeError(f"{name} is registered as {type(made).__name__}, not {kind.__name__}")
        return made


def _version() -> str:
    try:
        return version("imex")
    except PackageNotFoundError:
        return "unknown"
