"""How long an intake waits before it looks again, so that a stream comes in fewer and larger batches.

What a batch costs hardly depends on its size: a fetch, a transaction, a span, a turn of the relay. An
intake that takes every record the moment it arrives spends all its time on batches of two or three while
a stream runs. So the first records after a quiet time are taken at once; then the intake pauses before it
looks again, longer the more keep coming, up to a cap that bounds what the pause adds to a record's way.
"""

from collections import deque

LEAST_S = 0.04
"""The first image goes ahead alone; what comes behind it shares a batch and leaves it the processor."""
S_PER_RECORD = 0.004
"""Four milliseconds for each record a second: at 50 a second the pause is 200 ms."""


class Pace:
    """The rate of the last second and the pause that follows from it. Times in seconds."""

    def __init__(self, cap_s: float, least_s: float = LEAST_S, s_per_record: float = S_PER_RECORD) -> None:
        """`cap_s` is the longest pause, and 0 never pauses; `least_s` the shortest after a record came."""
        self._cap_s = cap_s
        self._least_s = least_s
        self._s_per_record = s_per_record
        self._taken: deque[tuple[float, int]] = deque()
        self._count = 0

    def taken(self, records: int, now: float) -> None:
        """So many records came in."""
        self._taken.append((now, records))
        self._count += records
        self._forget(now)

    def pause_s(self, now: float) -> float:
        """How long to wait before looking again: 0 where nothing came of late, at most the cap."""
        self._forget(now)
        if not self._count:
            return 0.0
        return min(self._cap_s, max(self._least_s, self._count * self._s_per_record))

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0][0] < now - _WINDOW_S:
            self._count -= self._taken.popleft()[1]


_WINDOW_S = 1.0
