"""What an acceptor asks of its user: the policy, the handler of an association, the sink of an instance."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from imex.dimse.items import ProposedContext, UserIdentity
from imex.dimse.operations import Terms
from imex.dimse.statuses import Status

FailedStage = Literal["room", "proxy header", "tls handshake", "request"]


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """Who asks for an association, and for what; `peer_certificate` is the verified TLS one in DER."""

    calling_ae: str
    called_ae: str
    peer_host: str
    peer_port: int
    contexts: tuple[ProposedContext, ...]
    user_identity: UserIdentity | None = None
    implementation_uid: str = ""
    implementation_version: str = ""
    peer_certificate: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """A C-STORE-RQ. The instance UID has 1 to 64 characters but need not be a valid UID."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    priority: int = 0
    move_originator_ae: str | None = None
    move_originator_message_id: int | None = None


@dataclass(frozen=True, slots=True)
class StoreResponse:
    """Status of a C-STORE and its Error Comment (at most 64 characters reach the peer)."""

    status: int = Status.SUCCESS
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an association ended, and what it carried.

    `stored` counts C-STOREs that got success or a warning, whether or not that answer still reached the peer,
    `failed` those that got a failure and those that were cut off; `statuses` has the counts by status, and
    `bytes` are data set bytes. `reason` is in words, without patient data.
    """

    kind: Literal["released", "aborted", "lost", "timeout"]
    reason: str
    stored: int = 0
    failed: int = 0
    echoes: int = 0
    bytes: int = 0
    statuses: Mapping[int, int] | None = None


class StoreSink(Protocol):
    """Takes one data set. Exactly one of `commit` and `abort` is called, unless `write` or `commit` raises.

    Raising `imex.dimse.errors.Refused` answers with its status; any other exception with 0110 (processing
    failure). After a raising `write`, `abort` is called; after a raising `commit`, nothing more.
    """

    async def write(self, chunk: memoryview | bytes) -> None:
        """Take the next piece. The view stays valid; it is only as large as what the network brought."""

    async def commit(self) -> StoreResponse:
        """The data set is complete: make it safe, and say with which status to answer."""

    async def abort(self) -> None:
        """The data set will not be completed: forget it."""


class AssociationHandler(Protocol):
    """Serves the operations of one accepted association.

    Data sets come one after the other. Where the peer has asked for an asynchronous operations window, some
    may still be in their sink's `commit` meanwhile; `ended` is called when all are done.
    """

    async def store(self, command: StoreCommand) -> StoreSink | StoreResponse:
        """Begin a C-STORE: a sink for the data set, or a refusal; then the data set is thrown away."""

    async def echo(self) -> int:
        """Answer a C-ECHO with a status."""

    async def ended(self, outcome: Ended) -> None:
        """The association is over; called once, always."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Accept the association on `terms` and let `handler` serve it."""

    handler: AssociationHandler
    user_identity_response: bytes | None = None
    terms: Terms = field(default_factory=Terms)


@dataclass(frozen=True, slots=True)
class Reject:
    """Reject the association; `result`, `source`, `reason` of PS3.8 table 9-21. `words` are for the log."""

    result: int
    source: int
    reason: int
    words: str = ""

    @classmethod
    def calling_ae_not_recognised(cls, words: str = "calling AE title not recognised") -> "Reject":
        """Permanent, service user."""
        return cls(1, 1, 3, words)

    @classmethod
    def called_ae_not_recognised(cls, words: str = "called AE title not recognised") -> "Reject":
        """Permanent, service user."""
        return cls(1, 1, 7, words)

    @classmethod
    def temporary_congestion(cls, words: str = "temporary congestion") -> "Reject":
        """Transient, service provider (presentation)."""
        return cls(2, 3, 1, words)

    @classmethod
    def local_limit_exceeded(cls, words: str = "local limit exceeded") -> "Reject":
        """Transient, service provider (presentation)."""
        return cls(2, 3, 2, words)


class AcceptorPolicy(Protocol):
    """Decides who may have an association."""

    async def admit(self, request: AssociationRequest) -> Accept | Reject:
        """Decide on one request; raising, or no answer within `Limits.admit_s`, is a temporary congestion."""


class AcceptorObserver(Protocol):
    """Hears of what never reached the policy or was turned down by the acceptor itself."""

    def rejected(self, request: AssociationRequest, reject: Reject) -> None:
        """An association was rejected, by the policy or by a limit."""

    def failed(self, peer_host: str, words: str, stage: FailedStage) -> None:
        """A connection ended before it asked for an association; `stage` is what did not come about."""


class SilentObserver:
    """Observes nothing."""

    def rejected(self, request: AssociationRequest, reject: Reject) -> None:
        """See AcceptorObserver."""

    def failed(self, peer_host: str, words: str, stage: FailedStage) -> None:
        """See AcceptorObserver."""
