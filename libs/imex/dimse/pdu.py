"""The PDUs of PS3.8 9.3, as types with their encoding and decoding.

Encoders return whole PDUs, decoders take a PDU's body (what follows the six byte header). P-DATA-TF is
decoded by `imex.dimse.stream` while it arrives; here is only its header for sending.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from imex.dimse.errors import AbortReason, ProtocolError
from imex.dimse.items import (
    ContextResult,
    Cursor,
    ItemType,
    ProposedContext,
    UserInformation,
    decode_context_result,
    decode_proposed_context,
    decode_user_information,
    encode_context_result,
    encode_proposed_context,
    encode_user_information,
    item,
    uid,
)
from imex.dimse.limits import Limits

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
HEADER_BYTES: Final = 6
PDV_HEADER_BYTES: Final = 6
COMMAND_BIT: Final = 0x01
LAST_BIT: Final = 0x02
AE_TITLE_CHARS: Final = 16


class PduType(IntEnum):
    """PDU types (PS3.8 9.3.1)."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2)."""

    called_ae: str
    calling_ae: str
    contexts: tuple[ProposedContext, ...]
    user_information: UserInformation
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC (PS3.8 9.3.3); the AE titles are an echo of the request's and mean nothing."""

    called_ae: str
    calling_ae: str
    contexts: tuple[ContextResult, ...]
    user_information: UserInformation
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


@dataclass(frozen=True, slots=True)
class AssociateReject:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4, table 9-21)."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT (PS3.8 9.3.8, table 9-26)."""

    source: int
    reason: int


def _pdu(kind: PduType, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def _ae(title: str) -> bytes:
    encoded = title.encode("ascii", "replace")
    if not 0 < len(encoded) <= AE_TITLE_CHARS:
        raise ValueError(f"an AE title has 1 to {AE_TITLE_CHARS} characters")
    return encoded.ljust(AE_TITLE_CHARS)


def _associate(kind: PduType, pdu: AssociateRequest | AssociateAccept, contexts: list[bytes]) -> bytes:
    body = struct.pack(">H2x16s16s32x", pdu.protocol_version, _ae(pdu.called_ae), _ae(pdu.calling_ae))
    body += item(ItemType.APPLICATION_CONTEXT, pdu.application_context.encode())
    return _pdu(kind, body + b"".join(contexts) + encode_user_information(pdu.user_information))


def encode_associate_request(pdu: AssociateRequest) -> bytes:
    """Encode an A-ASSOCIATE-RQ. Raises ValueError for an AE title that cannot be sent."""
    return _associate(PduType.ASSOCIATE_RQ, pdu, [encode_proposed_context(c) for c in pdu.contexts])


def encode_associate_accept(pdu: AssociateAccept) -> bytes:
    """Encode an A-ASSOCIATE-AC. Raises ValueError for an AE title that cannot be sent."""
    return _associate(PduType.ASSOCIATE_AC, pdu, [encode_context_result(c) for c in pdu.contexts])


def encode_associate_reject(pdu: AssociateReject) -> bytes:
    """Encode an A-ASSOCIATE-RJ."""
    return _pdu(PduType.ASSOCIATE_RJ, bytes((0, pdu.result, pdu.source, pdu.reason)))


def encode_abort(pdu: Abort) -> bytes:
    """Encode an A-ABORT."""
    return _pdu(PduType.ABORT, bytes((0, 0, pdu.source, pdu.reason)))


def encode_release_request() -> bytes:
    """Encode an A-RELEASE-RQ."""
    return _pdu(PduType.RELEASE_RQ, bytes(4))


def encode_release_response() -> bytes:
    """Encode an A-RELEASE-RP."""
    return _pdu(PduType.RELEASE_RP, bytes(4))


def data_header(context_id: int, length: int, *, command: bool, last: bool) -> bytes:
    """The twelve bytes before a fragment of `length` bytes that is a P-DATA-TF by itself (PS3.8 9.3.5)."""
    control = (COMMAND_BIT if command else 0) | (LAST_BIT if last else 0)
    return struct.pack(">BxIIBB", PduType.DATA_TF, length + 6, length + 2, context_id, control)


def _fixed_fields(cursor: Cursor) -> tuple[int, str, str]:
    version, called, calling = struct.unpack(">H2x16s16s32x", cursor.take(68))
    return version, _title(called), _title(calling)


def _title(data: bytes) -> str:
    return data.decode("ascii", "replace").strip(" \0")


def decode_associate_request(body: bytes, limits: Limits) -> AssociateRequest:
    """Decode an A-ASSOCIATE-RQ. Raises ProtocolError for what is malformed or beyond `limits`."""
    cursor = Cursor(body, "A-ASSOCIATE-RQ")
    version, called, calling = _fixed_fields(cursor)
    application_context, user_information = "", None
    contexts: dict[int, ProposedContext] = {}
    for kind, value in cursor.items():
        match kind:
            case ItemType.APPLICATION_CONTEXT:
                application_context = uid(value, "application context name")
            case ItemType.PRESENTATION_CONTEXT_RQ:
                if len(contexts) == limits.contexts:
                    raise ProtocolError(f"more than {limits.contexts} presentation contexts")
                context = decode_proposed_context(value, limits)
                if context.id in contexts:
                    raise ProtocolError(f"presentation context id {context.id} is there twice")
                contexts[context.id] = context
            case ItemType.USER_INFORMATION if user_information is None:
                user_information = decode_user_information(value, limits)
            case _:
                raise ProtocolError(
                    f"A-ASSOCIATE-RQ holds an item of type {kind:02X}", AbortReason.UNRECOGNIZED_PARAMETER
                )
    if not contexts:
        raise ProtocolError("A-ASSOCIATE-RQ without presentation contexts")
    return AssociateRequest(
        called,
        calling,
        tuple(contexts.values()),
        user_information or UserInformation(),
        application_context,
        version,
    )


def decode_associate_accept(body: bytes, limits: Limits) -> AssociateAccept:
    """Decode an A-ASSOCIATE-AC. Raises ProtocolError for what is malformed or beyond `limits`."""
    cursor = Cursor(body, "A-ASSOCIATE-AC")
    version, called, calling = _fixed_fields(cursor)
    application_context, user_information = "", None
    contexts: list[ContextResult] = []
    for kind, value in cursor.items():
        match kind:
            case ItemType.APPLICATION_CONTEXT:
                application_context = uid(value, "application context name")
            case ItemType.PRESENTATION_CONTEXT_AC:
                if len(contexts) == limits.contexts:
                    raise ProtocolError(f"more than {limits.contexts} presentation contexts")
                contexts.append(decode_context_result(value))
            case ItemType.USER_INFORMATION if user_information is None:
                user_information = decode_user_information(value, limits)
            case _:
                raise ProtocolError(
                    f"A-ASSOCIATE-AC holds an item of type {kind:02X}", AbortReason.UNRECOGNIZED_PARAMETER
                )
    return AssociateAccept(
        called, calling, tuple(contexts), user_information or UserInformation(), application_context, version
    )


def decode_associate_reject(body: bytes) -> AssociateReject:
    """Decode an A-ASSOCIATE-RJ."""
    _, result, source, reason = Cursor(body, "A-ASSOCIATE-RJ").take(4)
    return AssociateReject(result, source, reason)


def decode_abort(body: bytes) -> Abort:
    """Decode an A-ABORT."""
    _, _, source, reason = Cursor(body, "A-ABORT").take(4)
    return Abort(source, reason)
