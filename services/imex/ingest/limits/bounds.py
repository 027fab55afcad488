"""How much may be sent: by everybody together, and by one institution."""

from collections.abc import Callable
from dataclasses import dataclass

from imex.directory import DirectoryIndex

_BYTES_OF_MBPS = 1_000_000 / 8
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits over all processes; 0 stands for none."""

    associations: int = 0
    in_flight_bytes: int = 0
    bytes_per_s: int = 0


def bytes_per_s(mbps: float) -> int:
    """Bytes a second from megabits a second."""
    return int(mbps * _BYTES_OF_MBPS)


class BoundsTable:
    """The limits in force: the settings', and the directory's where it has some for an institution."""

    def __init__(
        self, everybody: Bounds, institution: Bounds, directory: Callable[[], DirectoryIndex | None]
    ) -> None:
        self.everybody = everybody
        self._default = institution
        self._directory = directory

    def of(self, code: str) -> Bounds:
        """The limits of one institution."""
        index = self._directory()
        known = index.institutions.get(code) if index is not None else None
        if known is None:
            return self._default
        own, default = known.limits, self._default
        return Bounds(
            associations=own.max_associations or default.associations,
            in_flight_bytes=(own.max_in_flight_mb or 0) * _MB or default.in_flight_bytes,
            bytes_per_s=bytes_per_s(own.max_mbps) if own.max_mbps else default.bytes_per_s,
        )
