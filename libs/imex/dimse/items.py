"""Items of the A-ASSOCIATE PDUs (PS3.8 9.3.2 and annex D, PS3.7 annex D.3): types, encoding, decoding.

Decoding believes no length: each is checked against what is really there and against the caps.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from imex.dimse.command import MAX_UID_CHARS
from imex.dimse.errors import ProtocolError
from imex.dimse.limits import Limits


class ItemType(IntEnum):
    """Item types of PS3.8 9.3.2 to 9.3.3, PS3.8 D.3.3 and PS3.7 D.3.3."""

    APPLICATION_CONTEXT = 0x10
    PRESENTATION_CONTEXT_RQ = 0x20
    PRESENTATION_CONTEXT_AC = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    ASYNC_OPERATIONS_WINDOW = 0x53
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION = 0x55
    EXTENDED_NEGOTIATION = 0x56
    COMMON_EXTENDED_NEGOTIATION = 0x57
    USER_IDENTITY_RQ = 0x58
    USER_IDENTITY_AC = 0x59


class ContextOutcome(IntEnum):
    """Result/Reason of a presentation context in an A-ASSOCIATE-AC (PS3.8 table 9-18)."""

    ACCEPTED = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context of an A-ASSOCIATE-RQ; `id` is odd, 1 to 255."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextResult:
    """A presentation context of an A-ASSOCIATE-AC; the transfer syntax counts only when accepted."""

    id: int
    outcome: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """SCP/SCU role selection (PS3.7 D.3.3.4)."""

    sop_class: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True, repr=False)
class UserIdentity:
    """User identity (PS3.7 D.3.3.7); `kind` 1 user name, 2 with passcode, 3 Kerberos, 4 SAML, 5 JWT."""

    kind: int
    response_requested: bool
    primary: bytes
    secondary: bytes = b""

    def __repr__(self) -> str:
        return f"UserIdentity(kind={self.kind})"


@dataclass(frozen=True, slots=True)
class UserInformation:
    """User information of an A-ASSOCIATE-RQ or -AC. `max_length` 0 means unlimited (PS3.8 D.1)."""

    max_length: int = 0
    implementation_uid: str = ""
    implementation_version: str = ""
    async_window: tuple[int, int] | None = None
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[tuple[str, bytes], ...] = ()
    user_identity: UserIdentity | None = None
    user_identity_response: bytes | None = None


def item(kind: int, body: bytes) -> bytes:
    """An item or sub-item: type, reserved byte, length, body."""
    return struct.pack(">BxH", kind, len(body)) + body


class Cursor:
    """Reads forward through bytes; never beyond their end."""

    __slots__ = ("_data", "_position", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._position = 0
        self._what = what

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises ProtocolError where fewer are left."""
        end = self._position + count
        if end > len(self._data):
            raise ProtocolError(f"{self._what} is shorter than it says")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def short(self) -> int:
        """The next two bytes, big endian."""
        return int.from_bytes(self.take(2), "big")

    def counted(self) -> bytes:
        """Bytes behind a two byte length."""
        return self.take(self.short())

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self._data) - self._position)

    def items(self) -> Iterator[tuple[int, bytes]]:
        """The items that are left, as (type, body)."""
        while self._position < len(self._data):
            kind, length = struct.unpack(">BxH", self.take(4))
            yield kind, self.take(length)


def uid(data: bytes, what: str) -> str:
    """A UID without padding. Raises ProtocolError when it cannot be one."""
    try:
        value = data.decode("ascii").strip(" \0")
    except UnicodeDecodeError:
        raise ProtocolError(f"{what} is not a UID") from None
    if not value or len(value) > MAX_UID_CHARS or not value.isprintable():
        raise ProtocolError(f"{what} is not a UID")
    return value


def decode_proposed_context(body: bytes, limits: Limits) -> ProposedContext:
    """Presentation context item of an A-ASSOCIATE-RQ (PS3.8 table 9-13)."""
    cursor = Cursor(body, "presentation context")
    identifier = cursor.take(4)[0]
    if identifier % 2 == 0:
        raise ProtocolError(f"presentation context id {identifier} is not odd")
    abstract_syntax = None
    transfer_syntaxes: list[str] = []
    for kind, value in cursor.items():
        if kind == ItemType.ABSTRACT_SYNTAX and abstract_syntax is None:
            abstract_syntax = uid(value, "abstract syntax")
        elif kind == ItemType.TRANSFER_SYNTAX:
            if len(transfer_syntaxes) == limits.transfer_syntaxes:
                raise ProtocolError(f"more than {limits.transfer_syntaxes} transfer syntaxes in a context")
            transfer_syntaxes.append(uid(value, "transfer syntax"))
        else:
            raise ProtocolError(f"presentation context holds an item of type {kind:02X}")
    if abstract_syntax is None or not transfer_syntaxes:
        raise ProtocolError("presentation context without abstract syntax or transfer syntax")
    return ProposedContext(identifier, abstract_syntax, tuple(transfer_syntaxes))


def encode_proposed_context(context: ProposedContext) -> bytes:
    """Presentation context item of an A-ASSOCIATE-RQ (PS3.8 table 9-13)."""
    body = bytes((context.id, 0, 0, 0)) + item(ItemType.ABSTRACT_SYNTAX, context.abstract_syntax.encode())
    body += b"".join(item(ItemType.TRANSFER_SYNTAX, syntax.encode()) for syntax in context.transfer_syntaxes)
    return item(ItemType.PRESENTATION_CONTEXT_RQ, body)


def decode_context_result(body: bytes) -> ContextResult:
    """Presentation context item of an A-ASSOCIATE-AC (PS3.8 table 9-18)."""
    cursor = Cursor(body, "presentation context")
    identifier, _, outcome, _ = cursor.take(4)
    transfer_syntax = ""
    for kind, value in cursor.items():
        if kind != ItemType.TRANSFER_SYNTAX:
            raise ProtocolError(f"presentation context holds an item of type {kind:02X}")
        if outcome == ContextOutcome.ACCEPTED:  # otherwise it is not significant and may be anything
            transfer_syntax = uid(value, "transfer syntax")
    if outcome == ContextOutcome.ACCEPTED and not transfer_syntax:
        raise ProtocolError("accepted presentation context without transfer syntax")
    return ContextResult(identifier, outcome, transfer_syntax)


def encode_context_result(result: ContextResult) -> bytes:
    """Presentation context item of an A-ASSOCIATE-AC (PS3.8 table 9-18)."""
    body = bytes((result.id, 0, result.outcome, 0))
    body += item(ItemType.TRANSFER_SYNTAX, result.transfer_syntax.encode())
    return item(ItemType.PRESENTATION_CONTEXT_AC, body)


def decode_user_information(body: bytes, limits: Limits) -> UserInformation:
    """User information item. Sub-items that are not known are skipped (PS3.8 9.3.1 asks for that)."""
    max_length, implementation_uid, implementation_version = 0, "", ""
    async_window = user_identity = user_identity_response = None
    roles: list[RoleSelection] = []
    extended: list[tuple[str, bytes]] = []
    for count, (kind, value) in enumerate(Cursor(body, "user information").items()):
        if count == limits.user_items:
            raise ProtocolError(f"more than {limits.user_items} sub-items in the user information")
        cursor = Cursor(value, "user information sub-item")
        match kind:
            case ItemType.MAXIMUM_LENGTH:
                max_length = int.from_bytes(cursor.take(4), "big")
            case ItemType.IMPLEMENTATION_CLASS_UID:
                # only shown, never acted on: a peer that names itself oddly is served all the same
                implementation_uid = value[:MAX_UID_CHARS].decode("ascii", "replace").strip(" \0")
            case ItemType.IMPLEMENTATION_VERSION:
                implementation_version = value[:16].decode("ascii", "replace").strip(" \0")
            case ItemType.ASYNC_OPERATIONS_WINDOW:
                async_window = (cursor.short(), cursor.short())
            case ItemType.ROLE_SELECTION:
                sop_class = uid(cursor.counted(), "role's SOP class")
                roles.append(RoleSelection(sop_class, scu=cursor.byte() == 1, scp=cursor.byte() == 1))
            case ItemType.EXTENDED_NEGOTIATION:
                extended.append((uid(cursor.counted(), "extended negotiation's SOP class"), cursor.rest()))
            case ItemType.USER_IDENTITY_RQ:
                user_identity = UserIdentity(
                    cursor.byte(), cursor.byte() == 1, cursor.counted(), cursor.counted()
                )
            case ItemType.USER_IDENTITY_AC:
                user_identity_response = cursor.counted()
            case _:
                continue
    return UserInformation(
        max_length,
        implementation_uid,
        implementation_version,
        async_window,
        tuple(roles),
        tuple(extended),
        user_identity,
        user_identity_response,
    )


def encode_user_information(info: UserInformation) -> bytes:
    """User information item with its sub-items in ascending order of type, as PS3.7 D.3.3 shows them."""
    subs = [
        item(ItemType.MAXIMUM_LENGTH, struct.pack(">I", info.max_length)),
        item(ItemType.IMPLEMENTATION_CLASS_UID, info.implementation_uid.encode()),
    ]
    if info.async_window is not None:
        subs.append(item(ItemType.ASYNC_OPERATIONS_WINDOW, struct.pack(">HH", *info.async_window)))
    for role in info.roles:
        body = _counted(role.sop_class.encode()) + bytes((role.scu, role.scp))
        subs.append(item(ItemType.ROLE_SELECTION, body))
    if info.implementation_version:
        subs.append(item(ItemType.IMPLEMENTATION_VERSION, info.implementation_version.encode()))
    for sop_class, data in info.extended:
        subs.append(item(ItemType.EXTENDED_NEGOTIATION, _counted(sop_class.encode()) + data))
    if info.user_identity is not None:
        identity = info.user_identity
        body = bytes((identity.kind, identity.response_requested))
        subs.append(
            item(ItemType.USER_IDENTITY_RQ, body + _counted(identity.primary) + _counted(identity.secondary))
        )
    if info.user_identity_response is not None:
        subs.append(item(ItemType.USER_IDENTITY_AC, _counted(info.user_identity_response)))
    return item(ItemType.USER_INFORMATION, b"".join(subs))


def _counted(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data
