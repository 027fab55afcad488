"""What a simulated PACS is."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from imex.simulation.failures import Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Who it is and how it misbehaves in time. Seconds and bytes."""

    ae_title: str = "SIMULATED"
    type: Type = "dicom"
    host: str = "127.0.0.1"
    port: int = 0
    api_port: int | None = None
    """Where it tells what it received; nowhere without one."""
    store: Path | None = None
    any_called: bool = False
    """Accept associations to any AE title."""
    delay_s: float = 300.0
    """Of an answer that comes late, or of an instance that is shown late."""
    rate: float = 1000.0
    """Bytes a second of a slow reader."""
    retry_after_s: int = 2
    commit_to: tuple[str, str, int] | None = None
    """AE title, host and port that storage commitment is reported to on an association of its own.

    Without it, it is reported on the association of the request."""
    tls: ssl.SSLContext | None = None
    base: str = "/dicom-web"
    """Path of the DICOMweb services."""
