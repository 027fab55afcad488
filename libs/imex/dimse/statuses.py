"""DIMSE status codes (PS3.7 annex C, PS3.4 table B.2-1) and their words."""

from enum import IntEnum


class Status(IntEnum):
    """Statuses that the acceptor answers with."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    INVALID_SOP_INSTANCE = 0x0117
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NOT_AUTHORIZED = 0x0124
    DUPLICATE_INVOCATION = 0x0210
    UNRECOGNIZED_OPERATION = 0x0211
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    CANNOT_COUNT_MATCHES = 0xA701
    CANNOT_PERFORM_SUB_OPERATIONS = 0xA702
    MOVE_DESTINATION_UNKNOWN = 0xA801
    DATA_SET_DOES_NOT_MATCH = 0xA900
    SUB_OPERATIONS_FAILED = 0xB000
    CANNOT_UNDERSTAND = 0xC000
    CANCELLED = 0xFE00
    PENDING = 0xFF00
    PENDING_KEYS_UNSUPPORTED = 0xFF01


_WORDS = {
    0x0000: "success",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0117: "invalid SOP instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xA801: "move destination unknown",
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
}
_FAMILIES = {0xA7: "out of resources", 0xA9: "data set does not match SOP class"}


def is_stored(status: int) -> bool:
    """Whether the peer has taken the instance: success, or a warning (PS3.7 C.1: 0001, Bxxx, 0107, 0116)."""
    return status == Status.SUCCESS or status in (0x0001, 0x0107, 0x0116) or status >> 12 == 0xB


def words(status: int) -> str:
    """A status as people read it: `A700 out of resources`."""
    text = _WORDS.get(status) or _FAMILIES.get(status >> 8)
    if text is None:
        text = "cannot understand" if status >> 12 == 0xC else "unknown status"
    return f"{status:04X} {text}"
