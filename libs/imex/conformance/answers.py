"""What Imex answers as an SCP, and how it takes answers as an SCU.

Written down here, and held against the code by tests/unit/conformance.
"""

from dataclasses import dataclass
from typing import Final

from imex.dimse.statuses import Status

_LATER = "send again later"


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """A C-STORE status with its Error Comment (at most 64 characters), when it comes, what to do."""

    status: Status
    comment: str
    when: str
    do: str

    @property
    def code(self) -> str:
        """The status in four hex digits."""
        return f"{self.status:04X}"


def _out(comment: str, when: str, do: str = _LATER) -> StoreAnswer:
    return StoreAnswer(Status.OUT_OF_RESOURCES, f"out of resources: {comment}", when, do)


STORE_ANSWERS: Final = (
    StoreAnswer(Status.SUCCESS, "", "the data set is in the object store and its event in Kafka", "nothing"),
    _out("the object store is full", "the object store has no room"),
    _out("the object store is not available", "the object store does not take it"),
    _out("the event broker is not available", "Kafka does not acknowledge"),
    _out(
        "too much is under way, send again later",
        "the memory of the process is in use",
        "send again later, or over fewer associations",
    ),
    _out(
        "limit of bytes under way, send again later",
        "the institution's, or everybody's, limit of bytes received and not yet safe",
        "send again later, or over fewer associations",
    ),
    _out("rate limit, send again later", "data comes faster than the limit", "send again later, slower"),
    _out(
        "storage N % full, emergencies only",
        "the object store is nearly full, and the study is no emergency",
        "send again later; tell the operator",
    ),
    _out("too many studies in one association", "a bound on memory", "open a new association"),
    _out("could not be made safe in time", "it took too long"),
    _out("could not be made safe", "any other failure", "send again later; the operator's log says why"),
    _out("no directory", "the directory is gone while the association lasts"),
    StoreAnswer(
        Status.NOT_AUTHORIZED,
        "no agreement …",
        "the called AE title names a recipient, and no agreement covers it",
        "talk to your information governance",
    ),
    StoreAnswer(
        Status.SOP_CLASS_NOT_SUPPORTED,
        "SOP class differs from that of the presentation context",
        "Affected SOP Class UID is not the context's abstract syntax",
        "correct the sender",
    ),
    StoreAnswer(
        Status.INVALID_SOP_INSTANCE,
        "no Affected SOP Instance UID",
        "the command has none",
        "correct the sender",
    ),
    StoreAnswer(
        Status.INVALID_SOP_INSTANCE,
        "Affected SOP Instance UID is longer than 64 characters",
        "it is no UID (PS3.5 9.1)",
        "correct the sender",
    ),
    StoreAnswer(
        Status.CANNOT_UNDERSTAND,
        "C-STORE without a data set",
        "the command announces none",
        "correct the sender",
    ),
    StoreAnswer(
        Status.DUPLICATE_INVOCATION,
        "message id of an operation under way",
        "within an asynchronous operations window",
        "correct the sender",
    ),
    StoreAnswer(
        Status.PROCESSING_FAILURE,
        "processing failure: the receiver's log says why",
        "an error of Imex",
        "send again; tell the operator",
    ),
)


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ: result, source and reason of PS3.8 table 9-21, and when it comes."""

    result: int
    source: int
    reason: int
    words: str
    when: str


REJECTIONS: Final = (
    Rejection(
        1,
        1,
        2,
        "application context name not supported",
        "the application context is not DICOM's (PS3.7 A.2.1)",
    ),
    Rejection(
        1,
        1,
        3,
        "calling AE title not recognized",
        "no sender of the directory has it, it may not come from that network, or the certificate is another "
        "institution's",
    ),
    Rejection(
        1, 1, 7, "called AE title not recognized", "neither Imex's own nor a recipient's of the directory"
    ),
    Rejection(1, 2, 2, "protocol version not supported", "bit 0 of the protocol version is not set"),
    Rejection(
        2,
        3,
        1,
        "temporary congestion",
        "no directory has been read yet, Imex is about to stop, all institutions together are at a limit, or "
        "the institution is above its rate or bytes in flight",
    ),
    Rejection(
        2, 3, 2, "local limit exceeded", "the institution, or the process, has its most associations open"
    ),
)
