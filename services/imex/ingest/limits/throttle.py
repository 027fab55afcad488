"""How fast bytes may come: a rate with a second's burst (the generic cell rate algorithm, ITU-T I.371)."""

_BURST_S = 1.0
_SLOWEST = 64 * 1024  # bytes a second: without a share of the limit there is still some progress


class Throttle:
    """One rate, 0 for none. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._rate = 0
        self._due = 0.0
        self._spent = 0
        self._slowed = False

    def set_rate(self, bytes_per_s: int) -> None:
        """Of now on; `0` for no limit."""
        self._rate = bytes_per_s

    def spend(self, count: int, now: float) -> float:
        """So many bytes have come: for how long nothing more should."""
        self._spent += count
        if not self._rate:
            return 0.0
        self._due = max(self._due, now - _BURST_S) + count / max(self._rate, _SLOWEST)
        wait = max(0.0, self._due - now)
        self._slowed = self._slowed or wait > 0
        return wait

    def behind(self, now: float) -> float:
        """For how long nothing should come, in seconds; 0 where it may."""
        return max(0.0, self._due - now) if self._rate else 0.0

    def wanted(self, seconds: float) -> int:
        """Bytes a second that were wanted since this was asked last, `seconds` ago.

        What senders would send if they were not slowed cannot be known; then twice what they may is wanted.
        """
        wanted = int(self._spent / seconds) if seconds > 0 else 0
        if self._slowed:
            wanted = max(wanted, 2 * self._rate)
        self._spent, self._slowed = 0, False
        return wanted
