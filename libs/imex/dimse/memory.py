"""The memory that connections receive into, shared by all of them.

A connection that cannot get more slows its peer down instead: it reads on when its own queue has been taken,
which does not depend on anybody else, so that there is no deadlock. How much may wait in one queue follows
what is free (a dynamic threshold, as switches share their buffers), and never falls below a floor.
"""

from typing import Final, Protocol

from imex.dimse.limits import KIB

LARGE_ARENA: Final = 256 * KIB
MEDIUM_ARENA: Final = 64 * KIB
FLOOR: Final = 64 * KIB
"""What may wait in a queue however little is free; a piece of a data set in progress always fits."""

TLS_READ_AHEAD: Final = 64 * KIB
"""Encrypted bytes that may wait below a connection whose reading is paused."""
TLS_BYTES: Final = 400 * KIB
"""What TLS takes for one connection: the event loop's buffer of 256 KiB, and what waits behind it."""


class ReceiveMemory(Protocol):
    """What connections ask of the memory that they share."""

    @property
    def window(self) -> int:
        """Bytes that may wait in one connection's queue at this moment."""

    @property
    def ample(self) -> bool:
        """Whether a connection may keep what it will need again."""

    def charge(self, count: int) -> None:
        """So many bytes are taken; does not wait, as the network has brought them already."""

    def discharge(self, count: int) -> None:
        """So many bytes are free again."""


class Unshared:
    """Every connection for itself, up to a fixed window."""

    ample = True

    def __init__(self, window: int) -> None:
        self.window = window

    def charge(self, count: int) -> None:
        """See ReceiveMemory."""

    def discharge(self, count: int) -> None:
        """See ReceiveMemory."""


class SharedMemory:
    """A number of bytes for all connections of an acceptor."""

    def __init__(self, size: int, window: int) -> None:
        """`window`: what one connection may take at the most, however much is free."""
        self._size = size
        self._most = window
        self.used = 0

    @property
    def window(self) -> int:
        """See ReceiveMemory: half of what is free."""
        return max(FLOOR, min(self._most, (self._size - self.used) // 2))

    @property
    def ample(self) -> bool:
        """See ReceiveMemory: while less than half is taken."""
        return 2 * self.used < self._size

    def charge(self, count: int) -> None:
        """See ReceiveMemory."""
        self.used += count

    def discharge(self, count: int) -> None:
        """See ReceiveMemory."""
        self.used -= count


class Arena(bytearray):
    """Memory that a connection reads into; charged for as long as anybody holds a view of it."""

    def __init__(self, size: int, memory: ReceiveMemory) -> None:
        super().__init__(size)
        self._memory = memory
        memory.charge(size)

    def __del__(self) -> None:
        self._memory.discharge(len(self))


def arena_bytes(wanted: int, memory: ReceiveMemory) -> int:
    """How large the next arena is to be: as wanted, unless memory is short."""
    return min(wanted, LARGE_ARENA if memory.window >= LARGE_ARENA else MEDIUM_ARENA)
