"""The circuit breaker: one bad record is a dead letter, a run of them is a fault of ours."""

from collections import deque


class Breaker:
    """Opens at the `limit`-th failure in a row within `window_s` seconds, and stays open."""

    def __init__(self, limit: int, window_s: float) -> None:
        """Closed."""
        self._limit = limit
        self._window_s = window_s
        self._failures: deque[float] = deque()
        self.opened = False

    def failure(self, now: float) -> bool:
        """A record failed for good at `now` (seconds, monotonic). True when that opens the circuit."""
        self._failures.append(now)
        while now - self._failures[0] > self._window_s:
            self._failures.popleft()
        if len(self._failures) >= self._limit:
            self.opened = True
        return self.opened

    def success(self) -> None:
        """A record was handled: failures before it were not a run."""
        self._failures.clear()
