"""Command sets (PS3.7 annex E): group 0000 in Implicit VR Little Endian, what the served operations need."""

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from imex.dimse.errors import ProtocolError

NO_DATA_SET: Final = 0x0101
ERROR_COMMENT_CHARS: Final = 64
MAX_UID_CHARS: Final = 64
RESPONSE_BIT: Final = 0x8000


class Tag(IntEnum):
    """Elements of group 0000 (PS3.7 table E.1-1)."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008
    REMAINING_SUB_OPERATIONS = 0x1020
    COMPLETED_SUB_OPERATIONS = 0x1021
    FAILED_SUB_OPERATIONS = 0x1022
    WARNING_SUB_OPERATIONS = 0x1023
    MOVE_ORIGINATOR_AE = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


class CommandField(IntEnum):
    """Command Field (0000,0100) values that are told apart here."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_ACTION_RQ = 0x0130
    C_CANCEL_RQ = 0x0FFF


class Command:
    """A decoded command set: typed access to its elements, None where one is absent.

    The accessors raise ProtocolError when an element has a form that its VR does not allow.
    """

    __slots__ = ("_elements",)

    def __init__(self, elements: dict[int, bytes]) -> None:
        self._elements = elements

    @property
    def field(self) -> int:
        """Command Field (0000,0100)."""
        return self.require_number(Tag.COMMAND_FIELD)

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows (0000,0800)."""
        return self.require_number(Tag.DATA_SET_TYPE) != NO_DATA_SET

    def number(self, tag: Tag) -> int | None:
        """Value of an US element."""
        value = self._elements.get(tag)
        if value is None or not value:
            return None
        if len(value) != 2:
            raise ProtocolError(f"command element (0000,{tag:04X}) has {len(value)} bytes instead of 2")
        return int.from_bytes(value, "little")

    def require_number(self, tag: Tag) -> int:
        """Value of an US element that has to be there."""
        value = self.number(tag)
        if value is None:
            raise ProtocolError(f"command element (0000,{tag:04X}) is missing")
        return value

    def uid(self, tag: Tag) -> str | None:
        """Value of an UI element without its padding."""
        value = self.text(tag)
        if value is not None and len(value) > MAX_UID_CHARS:
            raise ProtocolError(f"command element (0000,{tag:04X}) is longer than {MAX_UID_CHARS} characters")
        return value

    def text(self, tag: Tag) -> str | None:
        """Value of an UI, AE or LO element without its padding; bytes beyond ASCII become U+FFFD."""
        value = self._elements.get(tag)
        if value is None:
            return None
        return value.decode("ascii", "replace").strip(" \0") or None


def decode(data: bytes) -> Command:
    """Decode a whole command set. Raises ProtocolError for anything that is not one."""
    elements: dict[int, bytes] = {}
    position, end = 0, len(data)
    while position < end:
        if end - position < 8:
            raise ProtocolError("command set ends within an element")
        group, element, length = struct.unpack_from("<HHI", data, position)
        position += 8
        if group != 0:
            raise ProtocolError(f"command set holds an element of group {group:04X}")
        if length > end - position:
            raise ProtocolError("command set ends within an element")
        if element in elements:
            raise ProtocolError(f"command element (0000,{element:04X}) is there twice")
        elements[element] = data[position : position + length]
        position += length
    return Command(elements)


def encode(elements: dict[Tag, int | str]) -> bytes:
    """Encode a command set: integers as US, text as UI (NUL padded) or as AE or LO (space padded)."""
    parts = []
    for tag in sorted(elements):
        value = elements[tag]
        if isinstance(value, int):
            encoded = value.to_bytes(2, "little")
        else:
            encoded = value.encode("ascii", "replace")
            if len(encoded) % 2:
                encoded += b"\0" if tag in _UIDS else b" "
        parts.append(struct.pack("<HHI", 0, tag, len(encoded)) + encoded)
    body = b"".join(parts)
    return struct.pack("<HHII", 0, Tag.GROUP_LENGTH, 4, len(body)) + body


_UIDS = frozenset(
    {
        Tag.AFFECTED_SOP_CLASS_UID,
        Tag.REQUESTED_SOP_CLASS_UID,
        Tag.AFFECTED_SOP_INSTANCE_UID,
        Tag.REQUESTED_SOP_INSTANCE_UID,
    }
)


def store_request(
    message_id: int,
    sop_class: str,
    sop_instance: str,
    *,
    priority: int = 0,
    move_originator: tuple[str, int] | None = None,
) -> bytes:
    """C-STORE-RQ (PS3.7 table 9.3-1)."""
    elements: dict[Tag, int | str] = {
        Tag.AFFECTED_SOP_CLASS_UID: sop_class,
        Tag.COMMAND_FIELD: CommandField.C_STORE_RQ,
        Tag.MESSAGE_ID: message_id,
        Tag.PRIORITY: priority,
        Tag.DATA_SET_TYPE: 0x0001,
        Tag.AFFECTED_SOP_INSTANCE_UID: sop_instance,
    }
    if move_originator is not None:
        elements[Tag.MOVE_ORIGINATOR_AE], elements[Tag.MOVE_ORIGINATOR_MESSAGE_ID] = move_originator
    return encode(elements)


def echo_request(message_id: int, sop_class: str) -> bytes:
    """C-ECHO-RQ (PS3.7 table 9.3-12)."""
    return encode(
        {
            Tag.AFFECTED_SOP_CLASS_UID: sop_class,
            Tag.COMMAND_FIELD: CommandField.C_ECHO_RQ,
            Tag.MESSAGE_ID: message_id,
            Tag.DATA_SET_TYPE: NO_DATA_SET,
        }
    )


def event_report_request(
    message_id: int, sop_class: str, sop_instance: str, event_type: int, *, data_set: bool
) -> bytes:
    """N-EVENT-REPORT-RQ (PS3.7 table 10.3-1)."""
    return encode(
        {
            Tag.AFFECTED_SOP_CLASS_UID: sop_class,
            Tag.COMMAND_FIELD: CommandField.N_EVENT_REPORT_RQ,
            Tag.MESSAGE_ID: message_id,
            Tag.DATA_SET_TYPE: 0x0001 if data_set else NO_DATA_SET,
            Tag.AFFECTED_SOP_INSTANCE_UID: sop_instance,
            Tag.EVENT_TYPE_ID: event_type,
        }
    )


def response(
    request: Command,
    status: int,
    comment: str = "",
    *,
    data_set: bool = False,
    others: Mapping[Tag, int] | None = None,
) -> bytes:
    """The response to `request`: its SOP class and instance, `status`, and an Error Comment if not empty.

    The comment is cut to the 64 characters of an LO and loses what an LO cannot hold. `others` are elements
    that only some responses have; `data_set` says that one follows.
    """
    elements: dict[Tag, int | str] = {
        Tag.COMMAND_FIELD: request.field | RESPONSE_BIT,
        Tag.MESSAGE_ID_RESPONDED_TO: request.require_number(Tag.MESSAGE_ID),
        Tag.DATA_SET_TYPE: 0x0001 if data_set else NO_DATA_SET,
        Tag.STATUS: status,
    }
    for tag, requested in _ANSWERED_FOR:
        uid = request.text(tag) or request.text(requested)
        if uid is not None and len(uid) <= MAX_UID_CHARS:
            elements[tag] = uid
    if others:
        elements.update(others)
    printable = (c if " " <= c <= "~" and c != "\\" else "?" for c in comment[:ERROR_COMMENT_CHARS])
    words = "".join(printable).strip()
    if words:
        elements[Tag.ERROR_COMMENT] = words
    return encode(elements)


_ANSWERED_FOR = (
    (Tag.AFFECTED_SOP_CLASS_UID, Tag.REQUESTED_SOP_CLASS_UID),
    (Tag.AFFECTED_SOP_INSTANCE_UID, Tag.REQUESTED_SOP_INSTANCE_UID),
)
