"""Time, as the upper layer uses it: the event loop's in service, a fake in tests."""

from collections.abc import Callable
from typing import Protocol


class TimerHandle(Protocol):
    """A call that is still to come."""

    def cancel(self) -> None:
        """Forget it."""


class Clock(Protocol):
    """What is used of an event loop; the loop itself satisfies this."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> TimerHandle:
        """Call `callback` after `delay` seconds."""


class Timer:
    """One restartable timer."""

    __slots__ = ("_callback", "_clock", "_handle")

    def __init__(self, clock: Clock, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback = callback
        self._handle: TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether it will still fire."""
        return self._handle is not None

    def start(self, seconds: float) -> None:
        """(Re)start it."""
        self.stop()
        self._handle = self._clock.call_later(seconds, self._fire)

    def stop(self) -> None:
        """Stop it if it runs."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._callback()


class PeerWatch:
    """Judges a peer's silence while someone waits for it, and only then.

    Two deadlines: an absolute one for a wait (idle, response), and one for progress within a message, in
    which the peer has to bring a minimum of bytes; the time in which nobody waited for the peer (a slow sink)
    does not count. One timer serves all waits: it is left running when a wait ends and looks again when it
    fires, as setting a timer for every fragment would cost more than the fragment.
    """

    def __init__(self, clock: Clock, expired: Callable[[str], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._timer = Timer(clock, self._look)
        self._words: str | None = None
        self._since = 0.0
        self._seconds = 0.0
        self._bytes_needed = 0
        self._bytes_at_start = 0
        self._left_at = 0.0
        self._due = 0.0
        self.bytes = 0  # received; counted up by the owner

    def wait(self, seconds: float, words: str) -> None:
        """Begin a wait with an absolute deadline."""
        self._words, self._seconds, self._since, self._bytes_needed = words, seconds, self._clock.time(), 0
        self._arm(seconds)

    def wait_for_progress(self, seconds: float, needed: int, words: str) -> None:
        """Begin or go on with a wait within a message: `needed` bytes in every `seconds`."""
        now = self._clock.time()
        if not self._bytes_needed or self.bytes - self._bytes_at_start >= needed:
            self._since, self._bytes_at_start = now, self.bytes
        else:
            self._since += now - self._left_at
        self._words, self._seconds, self._bytes_needed = words, seconds, needed
        self._arm(self._since + seconds - now)

    def leave(self) -> None:
        """The wait is over (for now)."""
        self._words = None
        self._left_at = self._clock.time()

    def stop(self) -> None:
        """Nothing is to be judged any more."""
        self._words = None
        self._timer.stop()

    def _arm(self, seconds: float) -> None:
        due = self._clock.time() + max(seconds, 0.0)
        if not self._timer.running or due < self._due:
            self._due = due
            self._timer.start(max(seconds, 0.0))

    def _look(self) -> None:
        if self._words is None:
            return
        now = self._clock.time()
        if self._bytes_needed and self.bytes - self._bytes_at_start >= self._bytes_needed:
            self._since, self._bytes_at_start = now, self.bytes
        left = self._since + self._seconds - now
        if left > 1e-3:
            self._due = now + left
            self._timer.start(left)
        else:
            words, self._words = self._words, None
            self._expired(words)
