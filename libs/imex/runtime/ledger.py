"""Which offsets of one partition are done, and so what may be committed."""

from collections import OrderedDict


class Ledger:
    """The offsets of one partition during one assignment.

    Records begin in the order of their offsets (with gaps: compaction leaves some) and end in any order.
    What may be committed is the lowest unfinished offset.
    """

    def __init__(self) -> None:
        """Nothing begun, nothing to commit."""
        self._open: OrderedDict[int, int] = OrderedDict()
        self._next: int | None = None
        self._committed: int | None = None
        self._newest_ms: int | None = None

    @property
    def unfinished(self) -> int:
        """How many records have begun and not ended."""
        return len(self._open)

    @property
    def position(self) -> int | None:
        """One past the last begun offset; None before the first."""
        return self._next

    @property
    def done_through_ms(self) -> int | None:
        """Everything produced up to this time (ms since 1970) and read so far is done; None: nothing read.

        A record may be older than one before it, so this stays below every open one.
        """
        return min(self._open.values()) - 1 if self._open else self._newest_ms

    def begin(self, offset: int, timestamp_ms: int) -> None:
        """A record was handed in."""
        assert self._next is None or offset >= self._next, "offsets of a partition only grow"
        self._open[offset] = timestamp_ms
        self._next = offset + 1
        self._newest_ms = max(self._newest_ms or 0, timestamp_ms)

    def done(self, offset: int) -> None:
        """A record needs no more work: handled, parked or dead-lettered."""
        del self._open[offset]

    def to_commit(self) -> int | None:
        """The offset to commit now; None when it would say nothing new."""
        lowest = next(iter(self._open)) if self._open else self._next
        return None if lowest == self._committed else lowest

    def committed(self, offset: int) -> None:
        """The broker knows `offset`."""
        self._committed = offset
