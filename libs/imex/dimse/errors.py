"""What can go wrong on an association, in words fit for a timeline: they never hold patient data."""

from enum import IntEnum


class AbortSource(IntEnum):
    """Source of an A-ABORT (PS3.8 table 9-26)."""

    USER = 0
    PROVIDER = 2


class AbortReason(IntEnum):
    """Reason of an A-ABORT whose source is the provider (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


_ABORT_REASONS = {
    0: "no reason given",
    1: "unrecognised PDU",
    2: "unexpected PDU",
    4: "unrecognised PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}

_REJECT_RESULTS = {1: "permanently", 2: "for now"}
_REJECT_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


class DimseError(Exception):
    """Anything that keeps an association or an operation on it from succeeding."""


class ProtocolError(DimseError):
    """The peer's bytes break PS3.7 or PS3.8 or a cap; `reason` goes into the A-ABORT."""

    def __init__(self, words: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> None:
        super().__init__(words)
        self.reason = reason


class ConnectionFailed(DimseError):
    """There is no TCP connection: it could not be made, or it is gone."""


class ConnectionLost(ConnectionFailed):
    """The connection ended while the association was in use."""


class DimseTimeout(DimseError):
    """The peer stayed silent, or did not read, beyond a deadline."""


class ContextNotAccepted(DimseError):
    """The peer accepted no presentation context for this SOP class and transfer syntax."""


class AssociationReleased(DimseError):
    """The association has been released, so nothing more can be asked on it."""


class AssociationAborted(DimseError):
    """An A-ABORT ended the association; `source` and `reason` as in PS3.8 table 9-26."""

    def __init__(self, source: int, reason: int, words: str | None = None) -> None:
        if words is None:
            by = "the peer" if source == AbortSource.USER else "the peer's DICOM layer"
            why = "" if source == AbortSource.USER else f": {_ABORT_REASONS.get(reason, f'reason {reason}')}"
            words = f"association aborted by {by}{why}"
        super().__init__(words)
        self.source = source
        self.reason = reason


class AssociationRejected(DimseError):
    """An A-ASSOCIATE-RJ; `result`, `source` and `reason` as in PS3.8 table 9-21."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        why = _REJECT_REASONS.get((source, reason), f"source {source}, reason {reason}")
        super().__init__(f"association rejected {_REJECT_RESULTS.get(result, f'(result {result})')}: {why}")
        self.result = result
        self.source = source
        self.reason = reason


class Refused(Exception):
    """Raised by an association's handler or sink to answer an operation with `status` and `comment`.

    A rest of the data set that is still on its way is read and thrown away first.
    """

    def __init__(self, status: int, comment: str = "") -> None:
        super().__init__(f"status 0x{status:04X}: {comment}")
        self.status = status
        self.comment = comment
