"""Delivery's metrics: states, attempts, outcomes, bytes and times, without anything about patients."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from imex.delivery.decide import Answer
from imex.delivery.destinations import Held
from imex.delivery.endings import Result, Settled
from imex.delivery.jobs import Depth, Job
from imex.observability import names
from imex.observability.metrics import Metrics


class Meters:
    """Counts what happens, under the names of the registry."""

    def __init__(self, metrics: Metrics) -> None:
        """All of them are made at once, so that they show before something has happened."""
        self._attempts = metrics.counter(names.DELIVERY_ATTEMPTS)
        self._instances = metrics.counter(names.DELIVERY_INSTANCES)
        self._bytes = metrics.counter(names.DELIVERY_BYTES)
        self._waiting = metrics.gauge(names.DELIVERY_WAITING)
        self._running = metrics.gauge(names.DELIVERY_RUNNING)
        self._queue = metrics.gauge(names.DELIVERY_QUEUE)
        self._held = metrics.gauge(names.DELIVERY_HELD)
        self._seconds = metrics.histogram(names.DELIVERY_SECONDS)
        self._store_seconds = metrics.histogram(names.DELIVERY_STORE_SECONDS)

    @contextmanager
    def storing(self, job: Job) -> Iterator[None]:
        """Times one C-STORE."""
        began = time.perf_counter()
        yield
        self._store_seconds.labels(job.recipient).observe(time.perf_counter() - began)

    def instance(self, job: Job, answer: Answer) -> None:
        """An instance has an answer."""
        self._instances.labels(job.recipient, str(answer.verdict)).inc()

    def attempt(self, job: Job, result: Result) -> None:
        """An attempt ended."""
        self._attempts.labels(job.recipient, "failed" if result.reason else "succeeded").inc()
        self._bytes.labels(job.recipient).inc(result.sent_bytes)

    def settled(self, job: Job, settled: Settled) -> None:
        """A delivery came to its end, perhaps."""
        if settled.outcome == "delivered":
            self._seconds.labels(job.priority).observe((datetime.now(UTC) - job.created_at).total_seconds())

    def depth(self, depths: Iterable[Depth]) -> None:
        """How many deliveries there are in each state."""
        for gauge in (self._waiting, self._running, self._queue):
            gauge.clear()
        for one in depths:
            self._queue.labels(one.priority, one.state).inc(one.number)
            if one.state == "waiting":
                self._waiting.labels(one.recipient).inc(one.number)
            elif one.state == "running":
                self._running.labels(one.recipient).inc(one.number)

    def held(self, held: Iterable[Held]) -> None:
        """Destinations to which nothing goes."""
        self._held.clear()
        for one in held:
            self._held.labels(one.recipient, one.endpoint, one.why).set(1)
