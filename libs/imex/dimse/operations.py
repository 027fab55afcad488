"""What an acceptor serves besides storage and verification: queries, retrievals, actions and reports.

An association is accepted on `Terms`. The default are those of a port that takes instances and nothing else.
"""

from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from imex.dimse.command import CommandField
from imex.dimse.items import ProposedContext
from imex.dimse.limits import KIB
from imex.dimse.statuses import Status

if TYPE_CHECKING:
    from imex.dimse.service import StoreResponse

MOST_BYTES: Final = 64 * KIB
"""Longest data set of a request where its service says nothing else."""

SERVED: Final = frozenset(
    {
        CommandField.C_FIND_RQ,
        CommandField.C_GET_RQ,
        CommandField.C_MOVE_RQ,
        CommandField.N_ACTION_RQ,
        CommandField.N_EVENT_REPORT_RQ,
    }
)
"""The operations that a service may offer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A request for an operation, with the data set that came with it (empty: none).

    `sop_instance_uid` and `type_id` (of the action or event) are an N-ACTION's or N-EVENT-REPORT's,
    `move_destination` is a C-MOVE's.
    """

    field: CommandField
    message_id: int
    sop_class_uid: str
    transfer_syntax: str
    data_set: bytes = b""
    priority: int = 0
    move_destination: str = ""
    sop_instance_uid: str = ""
    type_id: int | None = None


@dataclass(frozen=True, slots=True)
class SubOperations:
    """How far a C-MOVE or C-GET is (PS3.7 tables 9.1-3 and 9.1-4)."""

    remaining: int | None = None
    completed: int = 0
    failed: int = 0
    warning: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A final response; of `comment` at most 64 characters reach the peer."""

    status: int = Status.SUCCESS
    comment: str = ""
    data_set: bytes = b""
    counts: SubOperations | None = None


class Exchange(Protocol):
    """One operation under way: what was asked, and the means to answer.

    All methods raise DimseError when the association has ended; whoever performs is cancelled then.
    """

    @property
    def operation(self) -> Operation:
        """What was asked."""

    @property
    def cancelled(self) -> bool:
        """Whether the peer has asked to stop (C-CANCEL, or it wants to release the association)."""

    async def pending(
        self,
        data_set: bytes = b"",
        *,
        counts: SubOperations | None = None,
        status: int = Status.PENDING,
    ) -> None:
        """Send a response that is not the last one; waits while the peer reads slower than that."""

    async def answer(self, answer: Answer) -> None:
        """Send the last response now, where more is to be done after it; what `perform` returns is unused.

        Other operations of the association have their turn from now on.
        """

    def stores(self, sop_class: str, transfer_syntax: str) -> bool:
        """Whether the peer takes instances on this association, these among them (PS3.4 C.4.3)."""

    async def store(
        self,
        sop_class: str,
        sop_instance: str,
        transfer_syntax: str,
        chunks: AsyncIterable[bytes | memoryview] | memoryview,
        length: int,
    ) -> "StoreResponse":
        """C-STORE of a data set on this association; returns the peer's answer.

        Raises ContextNotAccepted where `stores` says no, ValueError when the chunks are not of `length`
        bytes: then the association is aborted, as a data set cannot be broken off.
        """

    async def report(self, sop_class: str, sop_instance: str, event_type: int, data_set: bytes = b"") -> int:
        """N-EVENT-REPORT on this association; returns the peer's status. Raises ContextNotAccepted."""


class Service(Protocol):
    """Carries out what is asked for on one abstract syntax."""

    @property
    def operations(self) -> frozenset[CommandField]:
        """Which of `SERVED` it offers; any other is answered with 0211 (unrecognized operation)."""

    @property
    def most_bytes(self) -> int:
        """Longest data set that it takes; a longer one is thrown away and answered as out of resources."""

    async def perform(self, exchange: Exchange) -> Answer:
        """Carry out one operation; the operations of one association come one after the other.

        Raising `imex.dimse.errors.Refused` answers with its status; any other exception with 0110 (processing
        failure).
        """


def first_named(context: ProposedContext) -> str | None:
    """The transfer syntax that the requestor names first."""
    return context.transfer_syntaxes[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """For what an association is accepted.

    storage: this side takes instances (as the SCP of storage).
    services: what else it serves, by abstract syntax.
    returns: the requestor may be the SCP of storage, as a C-GET needs it (PS3.7 D.3.3.4).
    reporters: SOP classes of which the requestor may be the SCP, and brings reports (PS3.4 J.3.3).
    transfer_syntax: the one in which a context is accepted; None refuses it.
    """

    storage: bool = True
    services: Mapping[str, Service] = field(default_factory=dict)
    returns: bool = False
    reporters: frozenset[str] = frozenset()
    transfer_syntax: Callable[[ProposedContext], str | None] = first_named


def too_long(operation: CommandField) -> int:
    """The status for a request with a data set beyond the limit (PS3.4 tables C.4-1 to C.4-3, PS3.7 C)."""
    if operation in (CommandField.C_MOVE_RQ, CommandField.C_GET_RQ):
        return Status.CANNOT_COUNT_MATCHES
    return Status.OUT_OF_RESOURCES if operation == CommandField.C_FIND_RQ else Status.RESOURCE_LIMITATION
