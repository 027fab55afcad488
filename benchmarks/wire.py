"""The few PDUs and command sets that a bare sender and receiver need (PS3.8 section 9.3, PS3.7 annex E).

Not `imex.dimse`: the ends must be light, and must not change when what is measured does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

ASSOCIATE_RQ: Final = 1
ASSOCIATE_AC: Final = 2
P_DATA: Final = 4
RELEASE_RQ: Final = 5
RELEASE_RP: Final = 6

MAX_PDU: Final = 128 * 1024
"""What both ends offer to receive, and the most that they send, in bytes."""

C_STORE_RQ: Final = 0x0001
C_ECHO_RQ: Final = 0x0030
STATUS: Final = 0x0900
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
AFFECTED_CLASS: Final = 0x0002
AFFECTED_INSTANCE: Final = 0x1000

_APPLICATION_CONTEXT: Final = b"1.2.840.10008.3.1.1.1"
_IMPLEMENTATION: Final = b"2.25.289114203341718912760571905012276410115"
_NO_DATA_SET: Final = 0x0101
_RESPONSE: Final = 0x8000


def pdu(kind: int, body: bytes) -> bytes:
    """A whole PDU."""
    return struct.pack(">BBI", kind, 0, len(body)) + body


def associate_request(called: str, calling: str, contexts: Sequence[tuple[str, str]]) -> bytes:
    """A-ASSOCIATE-RQ; context number i of `contexts` (abstract and transfer syntax) has the id 2i + 1."""
    items = [_item(0x10, _APPLICATION_CONTEXT)]
    for number, (abstract, transfer) in enumerate(contexts):
        offered = _item(0x30, abstract.encode()) + _item(0x40, transfer.encode())
        items.append(_item(0x20, bytes([2 * number + 1, 0, 0, 0]) + offered))
    return pdu(ASSOCIATE_RQ, _names(called, calling) + b"".join(items) + _user_information())


def associate_accept(request: bytes) -> bytes:
    """A-ASSOCIATE-AC to the body of a request: everything, in the transfer syntax that is offered first."""
    items = [_item(0x10, _APPLICATION_CONTEXT)]
    for kind, value in _items(request[68:]):
        if kind == 0x20:
            syntax = next(inner for sub, inner in _items(value[4:]) if sub == 0x40)
            items.append(_item(0x21, bytes([value[0], 0, 0, 0]) + _item(0x40, syntax)))
    return pdu(ASSOCIATE_AC, request[:68] + b"".join(items) + _user_information())


def accepted(accept: bytes) -> tuple[frozenset[int], int]:
    """Of the body of an A-ASSOCIATE-AC: the ids of the accepted contexts and the longest PDU to send."""
    ids, longest = set(), MAX_PDU
    for kind, value in _items(accept[68:]):
        if kind == 0x21 and value[2] == 0:
            ids.add(value[0])
        if kind == 0x50:
            for sub, inner in _items(value):
                if sub == 0x51:
                    longest = struct.unpack(">I", inner)[0] or MAX_PDU
    return frozenset(ids), min(longest, MAX_PDU)


def release_request() -> bytes:
    """A-RELEASE-RQ."""
    return pdu(RELEASE_RQ, bytes(4))


def release_response() -> bytes:
    """A-RELEASE-RP."""
    return pdu(RELEASE_RP, bytes(4))


def store_request(message_id: int, sop_class: str, sop_instance: str) -> bytes:
    """The command set of a C-STORE request of medium priority."""
    return _command(
        (AFFECTED_CLASS, _uid(sop_class)),
        (COMMAND_FIELD, struct.pack("<H", C_STORE_RQ)),
        (MESSAGE_ID, struct.pack("<H", message_id)),
        (0x0700, struct.pack("<H", 0)),
        (0x0800, struct.pack("<H", 1)),
        (AFFECTED_INSTANCE, _uid(sop_instance)),
    )


def success(request: dict[int, bytes]) -> bytes:
    """The command set that answers a C-STORE or C-ECHO request with status 0."""
    field = struct.unpack("<H", request[COMMAND_FIELD])[0]
    elements = [
        (AFFECTED_CLASS, request[AFFECTED_CLASS]),
        (COMMAND_FIELD, struct.pack("<H", field | _RESPONSE)),
        (0x0120, request[MESSAGE_ID]),
        (0x0800, struct.pack("<H", _NO_DATA_SET)),
        (STATUS, struct.pack("<H", 0)),
    ]
    if AFFECTED_INSTANCE in request:
        elements.append((AFFECTED_INSTANCE, request[AFFECTED_INSTANCE]))
    return _command(*elements)


def command_elements(command: bytes) -> dict[int, bytes]:
    """Element number to value of a command set (implicit little endian, group 0)."""
    elements, at = {}, 0
    while at + 8 <= len(command):
        _, element, length = struct.unpack_from("<HHI", command, at)
        elements[element] = command[at + 8 : at + 8 + length]
        at += 8 + length
    return elements


def command_pdu(context_id: int, command: bytes) -> bytes:
    """A P-DATA PDU with a whole command set."""
    return pdu(P_DATA, struct.pack(">IBB", len(command) + 2, context_id, 3) + command)


def data_pdus(context_id: int, parts: Sequence[bytes | memoryview], longest: int) -> list[bytes | memoryview]:
    """The P-DATA PDUs of a data set given in parts, as buffers to send one after the other; no copies."""
    remaining = sum(len(part) for part in parts)
    room = longest - 6
    rest = [memoryview(part) for part in parts]
    buffers: list[bytes | memoryview] = []
    while remaining:
        size = min(room, remaining)
        remaining -= size
        last = 2 if remaining == 0 else 0
        buffers.append(struct.pack(">BBIIBB", P_DATA, 0, size + 6, size + 2, context_id, last))
        while size:
            piece = rest[0][:size]
            size -= len(piece)
            buffers.append(piece)
            if len(piece) == len(rest[0]):
                rest.pop(0)
            else:
                rest[0] = rest[0][len(piece) :]
    return buffers


def _names(called: str, calling: str) -> bytes:
    return struct.pack(">HH16s16s32x", 1, 0, called.encode().ljust(16), calling.encode().ljust(16))


def _user_information() -> bytes:
    return _item(0x50, _item(0x51, struct.pack(">I", MAX_PDU)) + _item(0x52, _IMPLEMENTATION))


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        kind, _, length = struct.unpack_from(">BBH", data, at)
        yield kind, data[at + 4 : at + 4 + length]
        at += 4 + length


def _uid(uid: str) -> bytes:
    value = uid.encode()
    return value + b"\0" * (len(value) % 2)


def _command(*elements: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in sorted(elements))
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body
