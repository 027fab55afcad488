"""How fast destinations may be sent to (`max_mbps`), over all associations and all processes."""

import asyncio
from collections.abc import Awaitable, Callable

Destination = tuple[str, str]
Pace = Callable[[int], Awaitable[None]]
"""Waits until so many bytes may be sent."""

PIECE_BYTES = 64 * 1024


class Rates:
    """The rates of destinations; a process takes the share that its associations are of all."""

    def __init__(self) -> None:
        """Nothing is known of other processes: all is ours."""
        self._lines: dict[Destination, _Line] = {}

    def pace(self, destination: Destination, max_mbps: float | None) -> Pace | None:
        """For all associations with a destination together; None where there is no limit."""
        if max_mbps is None:
            self._lines.pop(destination, None)
            return None
        line = self._lines.setdefault(destination, _Line())
        line.bytes_per_s = max_mbps * 1e6 / 8
        return line.take

    @property
    def limited(self) -> list[Destination]:
        """Destinations with a limit."""
        return list(self._lines)

    def share(self, destination: Destination, mine: int, all_: int) -> None:
        """How many of the associations with a destination are this process's."""
        if (line := self._lines.get(destination)) is not None and mine:
            line.share = mine / max(all_, mine)


class _Line:
    """Is busy as long as what was sent takes at the rate."""

    def __init__(self) -> None:
        self.bytes_per_s = 0.0
        self.share = 1.0
        self._free_at = 0.0

    async def take(self, size: int) -> None:
        now = asyncio.get_running_loop().time()
        begins = max(now, self._free_at)
        self._free_at = begins + size / (self.bytes_per_s * self.share)
        if begins > now:
            await asyncio.sleep(begins - now)
