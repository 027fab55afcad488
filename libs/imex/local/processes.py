"""As how many processes a service runs on a local stack, and what they are called."""

from __future__ import annotations

import os
from typing import Final

from imex.local.process import StartFailed
from imex.local.secrets import SERVICES

SCALED: Final = ("ingest", "delivery")
"""Services that can run as several processes here."""

MOST: Final = 16


def service_of(name: str) -> str:
    """The service that a process belongs to: `ingest` for `ingest-2`."""
    return name.partition("-")[0]


def names_of(service: str) -> list[str]:
    """`ingest`, `ingest-2` and so on, as many as `IMEX_INGEST_PROCESSES` says; one where it says nothing.

    Raises `StartFailed` when that is no number from 1 to 16.
    """
    if service not in SCALED:
        return [service]
    variable = f"IMEX_{service.upper()}_PROCESSES"
    stated = os.environ.get(variable) or "1"
    if not stated.isdecimal() or not 1 <= int(stated) <= MOST:
        raise StartFailed(f"{variable} must be a number from 1 to {MOST}")
    return [service, *(f"{service}-{number}" for number in range(2, int(stated) + 1))]


def wanted() -> list[str]:
    """Every process of the six services, in the order in which they are started. Raises `StartFailed`."""
    return [name for service in SERVICES for name in names_of(service)]


def extra() -> list[str]:
    """What is wanted besides one process of each service. Raises `StartFailed`."""
    return [name for name in wanted() if name not in SERVICES]


def possible() -> list[str]:
    """Every name that `extra` could give."""
    return [f"{service}-{number}" for service in SCALED for number in range(2, MOST + 1)]
