"""Who is on an association, and what all of the services there work with."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from imex.dimse import Refused, Status
from imex.directory.model import Institution
from imex.outbound import Outbound
from imex.portal.archive import Downloads
from imex.portal.context import Portal
from imex.portal.problems import Problem
from imex.portal.query_retrieve.meters import Meters
from imex.portal.scope import Caller


@dataclass(frozen=True)
class Surroundings:
    """What queries and retrievals need of the portal; one for a process."""

    portal: Portal
    ae_title: str
    """Imex's own."""
    meters: Meters
    tls: Callable[[], ssl.SSLContext] | None = None
    """The context for nodes that want TLS."""
    outbound: Outbound = field(default_factory=Outbound)
    """Where may be connected to."""
    searches: Downloads = field(default_factory=lambda: Downloads(total=24, each=4))
    retrievals: Downloads = field(default_factory=lambda: Downloads(total=16, each=4))
    """Each may hold two images of some MiB."""


def caller_of(institution: Institution, calling_ae: str) -> Caller:
    """A node of an institution, which sees what the institution sees."""
    title = calling_ae.strip(" ")
    return Caller("ae", f"{institution.code}/{title}", title, institution.code, "institution")


def place_of(caller: Caller) -> str:
    """Whose places a caller takes: an institution has its own, however many nodes it has."""
    return caller.institution or ""


def refused(problem: Problem) -> Refused:
    """A problem as the answer to an operation."""
    if problem.status_code in {429, 503}:
        return Refused(Status.OUT_OF_RESOURCES, f"out of resources: {_first_sentence(problem)}")
    return Refused(Status.DATA_SET_DOES_NOT_MATCH, _first_sentence(problem))


def _first_sentence(problem: Problem) -> str:
    return str(problem.detail).split(". ")[0].rstrip(".")
