"""What routing measures."""

from imex.observability import names
from imex.observability.metrics import Metrics
from imex.sharing.model import Share


class Meters:
    """Routing's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        """`metrics` of this process."""
        self._shares = metrics.counter(names.ROUTING_SHARES)
        self._escalations = metrics.counter(names.ROUTING_ESCALATIONS)
        self._collected = metrics.histogram(names.ROUTING_COLLECT_SECONDS)
        self._open = metrics.gauge(names.ROUTING_STUDIES_OPEN)

    def moved(self, share: Share) -> None:
        """A share has reached its state. Counted before the commit: a batch that is repeated counts again."""
        self._shares.labels(share.state, share.priority).inc()

    def escalated(self, before: str, to: str) -> None:
        """A share was not delivered in its time."""
        self._escalations.labels(before, to).inc()

    def collected(self, priority: str, seconds: float) -> None:
        """A study was complete for a share so long after its first instance."""
        self._collected.labels(priority).observe(seconds)

    def open_studies(self, count: int) -> None:
        """So many studies are not complete."""
        self._open.set(count)
