"""Where the DICOM programs of other makers are on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

_SYSTEM_PATH = "/usr/bin:/usr/local/bin"
_SERVER_PATH = "/usr/sbin:/usr/local/sbin:" + _SYSTEM_PATH


def dcmtk(name: str) -> str | None:
    """One of DCMTK's tools; None where it is not installed.

    The system's first: pynetdicom installs programs of the same names into a virtual environment.
    """
    return shutil.which(name, path=_SYSTEM_PATH) or shutil.which(name)


def orthanc() -> str | None:
    """Orthanc, also where it is not in PATH, as for most users; None where it is not installed."""
    return shutil.which("Orthanc") or shutil.which("Orthanc", path=_SERVER_PATH)


def orthanc_dicomweb() -> str | None:
    """Orthanc's DICOMweb plugin; None where it is not installed."""
    found = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    return str(found) if found.exists() else None
