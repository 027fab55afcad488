"""What the runtime measures, in the metrics of its process."""

import time
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from imex.observability import names
from imex.observability.metrics import Metrics
from imex.runtime.message import Message


class Meters:
    """The measurements of one consumer group."""

    def __init__(self, metrics: Metrics | None, group: str) -> None:
        """Without `metrics` they are kept where nobody reads them."""
        made = metrics or Metrics(group)
        self._group = group
        self._records = made.counter(names.RUNTIME_RECORDS)
        self._dead = made.counter(names.RUNTIME_DEAD_LETTERS)
        self._seconds = made.histogram(names.RUNTIME_BATCH_SECONDS)
        self._lag = made.gauge(names.RUNTIME_LAG)
        self._oldest = made.gauge(names.RUNTIME_OLDEST)
        self._breaker = made.gauge(names.RUNTIME_BREAKER)
        self._rebalances = made.counter(names.RUNTIME_REBALANCES)
        self._measured: set[tuple[str, str]] = set()

    def handled(self, messages: Sequence[Message]) -> None:
        """These are done."""
        for topic, count in Tally(message.topic for message in messages).items():
            self._records.labels(self._group, topic, "handled").inc(count)

    def parked(self, topic: str) -> None:
        """A record was set aside."""
        self._records.labels(self._group, topic, "parked").inc()

    def dead(self, topic: str) -> None:
        """A dead letter was written."""
        self._records.labels(self._group, topic, "dead").inc()
        self._dead.labels(self._group, topic).inc()

    def waits(self, topic: str) -> None:
        """A dependency is away: a batch of this topic will be tried again."""
        self._records.labels(self._group, topic, "retried").inc()

    def broken(self, topic: str) -> None:
        """The circuit breaker holds this topic."""
        self._breaker.labels(self._group, topic).set(1)

    def rebalanced(self) -> None:
        """Partitions were given anew."""
        self._rebalances.labels(self._group).inc()

    @contextmanager
    def batch(self, topic: str) -> Iterator[None]:
        """Time a batch from hand-over to commit."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds.labels(self._group, topic).observe(time.perf_counter() - started)

    def lag(self, topic: str, partition: int, records: int) -> None:
        """So many records of a partition are not handled yet."""
        self._lag.labels(self._group, topic, str(partition)).set(records)
        self._measured.add((topic, str(partition)))

    def oldest(self, topic: str, seconds: float) -> None:
        """The age of a topic's oldest record that is read and not handled."""
        self._oldest.labels(self._group, topic).set(seconds)

    def forget(self) -> None:
        """The partitions are another process's now."""
        for topic, partition in self._measured:
            self._lag.remove(self._group, topic, partition)
        self._measured.clear()


class RelayMeters:
    """The measurements of one outbox relay."""

    def __init__(self, metrics: Metrics | None, schema: str) -> None:
        """Without `metrics` they are kept where nobody reads them."""
        made = metrics or Metrics(schema)
        self._published = made.counter(names.OUTBOX_PUBLISHED).labels(schema)
        self._waiting = made.gauge(names.OUTBOX_WAITING).labels(schema)
        self._oldest = made.gauge(names.OUTBOX_OLDEST).labels(schema)

    def published(self, rows: int) -> None:
        """So many rows were published."""
        self._published.inc(rows)

    def waiting(self, rows: int, oldest_s: float) -> None:
        """So many rows wait, the oldest since so long."""
        self._waiting.set(rows)
        self._oldest.set(oldest_s)
