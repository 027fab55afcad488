"""What the runtime counts."""

import time
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from imex.runtime.message import Message

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Meters:
    """The collectors of one process; made once and shared by its consumers and relay."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register in `registry`, or nowhere that is ever read."""
        self.registry = registry or CollectorRegistry()
        self._handled = Counter(
            "imex_consumer_records", "Records handled, by topic.", ["topic"], registry=self.registry
        )
        self._dead = Counter(
            "imex_consumer_dead_letters", "Records given up, by topic.", ["topic"], registry=self.registry
        )
        self._parked = Counter(
            "imex_consumer_parked",
            "Records set aside for a time, by topic.",
            ["topic"],
            registry=self.registry,
        )
        self._retries = Counter(
            "imex_consumer_retries", "Waits for a dependency that is away.", registry=self.registry
        )
        self._seconds = Histogram(
            "imex_consumer_batch_seconds",
            "Time in the handler for one batch, by topic.",
            ["topic"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._lag = Gauge(
            "imex_consumer_lag_records",
            "Records not handled yet, by topic and partition.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self._published = Counter(
            "imex_relay_published", "Outbox rows published, by topic.", ["topic"], registry=self.registry
        )
        self._active = Gauge(
            "imex_relay_active",
            "1 in the one process that publishes a schema's outbox.",
            registry=self.registry,
        )

    def handled(self, messages: Sequence[Message]) -> None:
        """These are done."""
        for topic, count in Tally(message.topic for message in messages).items():
            self._handled.labels(topic).inc(count)

    def dead(self, topic: str) -> None:
        """A dead letter was written."""
        self._dead.labels(topic).inc()

    def parked(self, topic: str) -> None:
        """A record was set aside."""
        self._parked.labels(topic).inc()

    def retried(self) -> None:
        """A dependency is away."""
        self._retries.inc()

    @contextmanager
    def handling(self, topic: str) -> Iterator[None]:
        """Time one call of a handler."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds.labels(topic).observe(time.perf_counter() - started)

    def lag(self, topic: str, partition: int, records: int) -> None:
        """How far behind the end of a partition its handled records are."""
        self._lag.labels(topic, str(partition)).set(records)

    def forget_lag(self, topic: str, partition: int) -> None:
        """The partition is another process's now."""
        self._lag.remove(topic, str(partition))

    def published(self, topics: Sequence[str]) -> None:
        """The relay published rows of these topics."""
        for topic, count in Tally(topics).items():
            self._published.labels(topic).inc(count)

    def relay_active(self, active: bool) -> None:
        """Whether this process publishes."""
        self._active.set(1 if active else 0)
