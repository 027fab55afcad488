"""Where deliveries go, by the endpoint's type: DICOM nodes now, with room for DICOMweb and the inbox."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from imex.delivery.decide import Answer
from imex.delivery.jobs import Instance
from imex.directory.model import Endpoint

Context = tuple[str, str]
"""SOP class and transfer syntax."""


class CannotDeliver(Exception):
    """An attempt cannot go on; the words are fit for a timeline and hold no patient data."""


class Session(Protocol):
    """A way to the destination that is open for some SOP classes and transfer syntaxes."""

    def covers(self, instance: Instance) -> bool:
        """Whether the session was opened for instances of this kind."""
        ...

    def refusal(self, instance: Instance) -> str:
        """Why the destination takes no instances of this kind, in words; empty when it does."""
        ...

    async def send(self, instance: Instance, chunks: AsyncIterator[bytes | memoryview]) -> Answer:
        """Send one data set and wait for the answer.

        Raises:
            CannotDeliver: the session is over.
        """
        ...


class Target(Protocol):
    """Opens sessions to endpoints of one type."""

    def address(self, endpoint: Endpoint) -> str:
        """How the receipt names the destination; a DICOM node's AE title."""
        ...

    def open(self, endpoint: Endpoint, contexts: Sequence[Context]) -> AbstractAsyncContextManager[Session]:
        """A session. Entering it raises CannotDeliver when there can be none."""
        ...


Targets = Mapping[str, Target]
"""Targets by endpoint type."""


def target_for(targets: Targets, endpoint: Endpoint) -> Target:
    """The target of an endpoint's type.

    Raises:
        CannotDeliver: there is none yet.
    """
    found = targets.get(endpoint.type)
    if found is None:
        raise CannotDeliver(
            f"endpoint {endpoint.name} is of type {endpoint.type}, which is not supported yet"
        )
    return found
