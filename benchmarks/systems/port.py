"""What every system under test offers to the scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

RECEIVER = "BENCH_B"
"""The AE title of the receiver."""


class System(Protocol):
    """Something that takes images on a DICOM port and hands them on to the receiver."""

    name: str
    called: str
    calling: str
    port: int

    def start(self) -> None:
        """Begin to listen."""

    def processes(self) -> Mapping[str, int]:
        """Name to process id of all that belongs to it."""

    def stop(self) -> None:
        """End all of it."""
