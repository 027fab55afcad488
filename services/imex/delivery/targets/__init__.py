"""Where deliveries go, by the endpoint's type: DICOM nodes, DICOMweb servers, with room for the inbox."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from imex.delivery.decide import Answer
from imex.delivery.jobs import Instance
from imex.delivery.payloads import Payload
from imex.directory.model import Endpoint

Context = tuple[str, str]
"""SOP class and transfer syntax. A transfer syntax that is empty stands for all of the SOP class."""

Refused = Mapping[Context, str]
"""What a destination has refused, with the words in which it is told."""

Pieces = AsyncIterator[bytes | memoryview]


class CannotDeliver(Exception):
    """An attempt cannot go on; the words are fit for a timeline and hold no patient data."""

    def __init__(
        self, words: str, *, lasting: bool = False, in_doubt: bool = False, again_after: float = 0.0
    ) -> None:
        """What is known beside the words.

        `lasting`: the destination has refused us, and would at once again. `in_doubt`: what was being sent
        may be there all the same. `again_after`: the destination said that it is not to be asked for so many
        seconds.
        """
        super().__init__(words)
        self.lasting = lasting
        self.in_doubt = in_doubt
        self.again_after = again_after


class Session(Protocol):
    """A way to the destination that is open for some SOP classes and transfer syntaxes."""

    @property
    def reused(self) -> bool:
        """It was open before, and may have ended without anybody's having noticed."""
        ...

    @property
    def learnt(self) -> Refused:
        """What the destination has refused on opening."""
        ...

    def covers(self, instance: Instance) -> bool:
        """Whether the session was opened for instances of this kind."""
        ...

    def refusal(self, instance: Instance) -> str:
        """Why the destination takes no instances of this kind, in words; empty when it does."""
        ...

    async def send(self, instance: Instance, payload: Payload) -> Answer:
        """Send one data set and wait for the answer.

        Raises:
            CannotDeliver: the session is over.
            PayloadBroken: the payload is not what was received, and the session is over.
        """
        ...


@dataclass(frozen=True, slots=True)
class Room:
    """What one request holds at most; one instance that is larger goes alone."""

    instances: int
    bytes: int


@runtime_checkable
class Together(Protocol):
    """What a session has besides that sends several instances in one request."""

    @property
    def room(self) -> Room:
        """Of the next request."""
        ...

    async def send_together(self, payloads: AsyncIterator[Payload]) -> Mapping[str, Answer]:
        """Send the data sets in one request, each as it comes, and wait for the answer.

        Answers are by the instances' SOP Instance UIDs. What has none was not taken, and is to be sent again
        at once, in what `room` is then: it does not stay as it was for ever.

        Raises:
            CannotDeliver: the session is over.
            PayloadBroken: one payload, which is `broken` now, is not what was received; the session is over.
            StoreError: the store failed.
        """
        ...


class Target(Protocol):
    """Opens sessions to endpoints of one type."""

    def address(self, endpoint: Endpoint) -> str:
        """How the receipt names the destination; a DICOM node's AE title."""
        ...

    def place(self, endpoint: Endpoint) -> str:
        """Who answers there: what is learnt of one place does not hold for another."""
        ...

    def refusal(self, endpoint: Endpoint, context: Context, refused: Refused) -> str:
        """Why it is of no use to ask for this, in words; empty when it is."""
        ...

    def kept(self, endpoint: Endpoint) -> int:
        """Sessions that are kept open for the next delivery."""
        ...

    def open(
        self, endpoint: Endpoint, contexts: Sequence[Context], refused: Refused, *, keep: bool
    ) -> AbstractAsyncContextManager[Session]:
        """A session for what has no `refusal`, which may be kept open for the next delivery.

        Entering it raises CannotDeliver when there can be none.
        """
        ...

    @property
    def keeps(self) -> bool:
        """Whether any session is kept open."""
        ...

    async def close(self) -> None:
        """End what is kept open."""
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
