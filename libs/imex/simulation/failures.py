"""The ways in which a simulated PACS can fail: what each does, and what a sender is to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Type = Literal["dicom", "dicomweb"]
Stage = Literal["association", "instance", "query", "commitment"]
"""What is counted until a failure strikes. An association is a STOW-RS request where there are none."""

BOTH: Final[tuple[Type, ...]] = ("dicom", "dicomweb")
DICOM: Final[tuple[Type, ...]] = ("dicom",)
WEB: Final[tuple[Type, ...]] = ("dicomweb",)


@dataclass(frozen=True, slots=True)
class Failure:
    """One way to fail."""

    name: str
    types: tuple[Type, ...]
    stage: Stage
    does: str
    """What the simulated PACS does, as a sentence without its subject."""
    sender: str
    """What a good sender does about it."""
    status: int = 0
    """The DIMSE or HTTP status that it answers with, where it is one."""


class UnknownFailure(ValueError):
    """There is no failure of this name for this type; the words name those there are."""


_LATER = "tries again later, with growing waits, and says so"
_GIVES_UP = "gives the instance up at once, says why, and goes on with the rest"
_AMBIGUOUS = "asks whether the instance is held, or sends it again under the same UID; never says delivered"

FAILURES: Final[tuple[Failure, ...]] = (
    Failure(
        "reject-transient", DICOM, "association", "rejects the association: temporary congestion", _LATER
    ),
    Failure("reject-limit", DICOM, "association", "rejects associations: local limit exceeded", _LATER),
    Failure(
        "reject-permanent",
        DICOM,
        "association",
        "rejects the association for good: called AE title not recognised",
        "tells a person, and asks again at long intervals: an AE title is often mended",
    ),
    Failure(
        "refuse-class",
        DICOM,
        "association",
        "accepts no presentation context of a storage SOP class",
        "gives the instances up and names the SOP class",
    ),
    Failure(
        "refuse-syntax",
        DICOM,
        "association",
        "accepts no transfer syntax for storage",
        "gives the instances up and names the transfer syntaxes",
    ),
    Failure(
        "implicit-only",
        DICOM,
        "association",
        "accepts Implicit VR Little Endian only",
        "rewrites what can be rewritten without loss, and names the transfer syntax of what cannot",
    ),
    Failure("status-a700", DICOM, "instance", "answers A700, out of resources", _LATER, 0xA700),
    Failure("status-0110", DICOM, "instance", "answers 0110, processing failure", _LATER, 0x0110),
    Failure("status-0122", DICOM, "instance", "answers 0122, SOP class not supported", _GIVES_UP, 0x0122),
    Failure("status-a900", DICOM, "instance", "answers A900, data set does not match", _GIVES_UP, 0xA900),
    Failure("status-c000", DICOM, "instance", "answers C000, cannot understand", _GIVES_UP, 0xC000),
    Failure(
        "status-b000",
        DICOM,
        "instance",
        "keeps the instance and answers B000, coercion of data elements",
        "counts it as held, and keeps the warning",
        0xB000,
    ),
    Failure("unauthorised", WEB, "association", "answers 401", "gets a new token, then tells a person", 401),
    Failure("forbidden", WEB, "association", "answers 403", "tells a person, and does not hammer", 403),
    Failure("conflict", WEB, "instance", "answers 409 and lists the instances as failed", _GIVES_UP, 409),
    Failure(
        "too-large",
        WEB,
        "association",
        "answers 413",
        "sends fewer instances a request, and gives up one that is alone too large",
        413,
    ),
    Failure("unsupported", WEB, "association", "answers 415", "gives the instances up, with words", 415),
    Failure(
        "too-many",
        WEB,
        "association",
        "answers 429 with Retry-After",
        "waits as long as Retry-After says, then tries again",
        429,
    ),
    Failure("error-500", WEB, "association", "answers 500", _LATER, 500),
    Failure("unavailable", WEB, "association", "answers 503 with Retry-After", _LATER, 503),
    Failure(
        "some-failed",
        WEB,
        "instance",
        "answers 202 with the instance in the FailedSOPSequence (0110 processing failure)",
        "reads the sequence: what is named there is not held",
        0x0110,
    ),
    Failure(
        "empty-answer",
        WEB,
        "association",
        "keeps the instances and answers 200 with an empty body",
        _AMBIGUOUS,
        200,
    ),
    Failure("stall-accept", BOTH, "association", "takes the connection and never answers", _LATER),
    Failure("stall-data", BOTH, "instance", "stops reading in the middle of the data", _LATER),
    Failure("stall-response", BOTH, "instance", "keeps the instance and never answers", _AMBIGUOUS),
    Failure(
        "slow-response",
        BOTH,
        "instance",
        "keeps the instance and answers after 5 minutes (--delay)",
        "gives up waiting before that, and takes it as unanswered: " + _AMBIGUOUS,
    ),
    Failure(
        "slow-reader",
        BOTH,
        "instance",
        "reads 1 kB a second (--rate)",
        "goes on as long as it moves, or gives up with words; other destinations keep their pace",
    ),
    Failure("abort-mid-data", DICOM, "instance", "aborts in the middle of the data set", _LATER),
    Failure(
        "abort-after-data",
        DICOM,
        "instance",
        "keeps the instance and aborts after the last fragment, before the response",
        _AMBIGUOUS,
    ),
    Failure(
        "close-after-data",
        BOTH,
        "instance",
        "keeps the instance and closes the connection before the response",
        _AMBIGUOUS,
    ),
    Failure(
        "lose",
        BOTH,
        "instance",
        "answers success and keeps nothing",
        "asks afterwards (storage commitment, C-FIND, QIDO-RS) where it can, and says what is missing",
    ),
    Failure(
        "duplicate",
        BOTH,
        "instance",
        "keeps a second copy under a SOP Instance UID of its own",
        "compares SOP Instance UIDs, not counts",
    ),
    Failure(
        "wrong-instance",
        BOTH,
        "instance",
        "keeps the instance and answers for another SOP Instance UID",
        "does not take it as an answer for this one",
    ),
    Failure(
        "wrong-message",
        DICOM,
        "instance",
        "keeps the instance and answers under another message ID",
        "does not take it as an answer",
    ),
    Failure(
        "answer-twice",
        DICOM,
        "instance",
        "keeps the instance and answers twice",
        "never takes the second answer for that of the next instance",
    ),
    Failure(
        "wrong-identifiers",
        BOTH,
        "instance",
        "files the instance under another patient and study",
        "finds it by SOP Instance UID, or says that it is not found",
    ),
    Failure(
        "late",
        BOTH,
        "instance",
        "answers success, and shows the instance to queries only after a while (--delay)",
        "asks more than once before it says that something is missing",
    ),
    Failure("find-none", BOTH, "query", "cannot be queried", "says that it could not be confirmed by query"),
    Failure("find-fails", BOTH, "query", "answers queries with a failure", "asks again later"),
    Failure(
        "find-stalls",
        BOTH,
        "query",
        "takes queries and never answers",
        "stops waiting and asks again later; others' answers do not wait for it",
    ),
    Failure(
        "commit-none",
        DICOM,
        "commitment",
        "has no storage commitment",
        "asks by query where that is possible",
    ),
    Failure(
        "commit-fails",
        DICOM,
        "commitment",
        "reports every instance as failed (0110)",
        "does not say delivered of what is reported as failed",
    ),
    Failure(
        "commit-silent",
        DICOM,
        "commitment",
        "accepts the request for storage commitment and never reports",
        "stops waiting after a while, and asks by query where that is possible",
    ),
)


def failures_of(type_: Type) -> tuple[Failure, ...]:
    """Those that a PACS of this type can show."""
    return tuple(one for one in FAILURES if type_ in one.types)


def named(names: Sequence[str], type_: Type) -> tuple[Failure, ...]:
    """The failures of these names.

    Raises:
        UnknownFailure: one of them is none of this type.
    """
    known = {one.name: one for one in failures_of(type_)}
    for name in names:
        if name not in known:
            raise UnknownFailure(
                f"{name!r} is no failure of a {type_} PACS; there are: {', '.join(sorted(known))}"
            )
    return tuple(known[name] for name in dict.fromkeys(names))
