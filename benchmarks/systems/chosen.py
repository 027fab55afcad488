"""Which systems can take part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.systems import dcmtk
from benchmarks.systems.dcmtk import Dcmtk
from benchmarks.systems.imex import Imex
from benchmarks.systems.orthanc import Orthanc
from benchmarks.systems.port import System
from benchmarks.systems.pynetdicom import Pynetdicom
from imex.local import programs

NAMES = ("imex", "orthanc", "dcmtk", "pynetdicom")


def missing() -> list[str]:
    """Those that are not installed."""
    return [
        name for name, program in (("orthanc", programs.orthanc()), ("dcmtk", dcmtk.program())) if not program
    ]


def chosen(names: Sequence[str], scratch: Path, home: Path, receiver_port: int) -> list[System]:
    """The named ones that are installed."""
    made: dict[str, System] = {
        "imex": Imex(home, receiver_port),
        "orthanc": Orthanc(scratch / "orthanc", receiver_port),
        "dcmtk": Dcmtk(scratch / "dcmtk", receiver_port),
        "pynetdicom": Pynetdicom(scratch / "pynetdicom", receiver_port),
    }
    return [made[name] for name in names if name not in missing()]
