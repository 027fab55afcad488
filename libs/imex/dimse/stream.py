"""Cuts the byte stream of a peer into PDUs and P-DATA fragments while it arrives, without copying payload.

The socket reads straight into an arena; a fragment is a view of it and stays valid as long as anyone holds
it: what has been lent is not written again. A fragment is handed on in the pieces in which it arrives, so
that neither a PDU nor a data set is ever collected.
"""

import struct
from enum import Enum, auto
from typing import Final, Protocol

from imex.dimse.errors import AbortReason, ProtocolError
from imex.dimse.limits import KIB, Limits
from imex.dimse.memory import LARGE_ARENA, Arena, ReceiveMemory, Unshared, arena_bytes
from imex.dimse.pdu import COMMAND_BIT, HEADER_BYTES, LAST_BIT, PDV_HEADER_BYTES, PduType

SMALL_ARENA: Final = 4 * KIB  # before any data has come: hundreds of silent connections cost next to nothing
FIRST_ARENA: Final = 16 * KIB  # when data begins to come; more as soon as a read fills what there is
MIN_READ: Final = 64 * KIB
SHORT: Final = 64
_NOTHING: Final = memoryview(b"")

_SHORT_PDU_BYTES: Final = 4
_KINDS: Final = frozenset(int(kind) for kind in PduType)
_header = struct.Struct(">BxI").unpack_from
_pdv_header = struct.Struct(">IBB").unpack_from


class PduReceiver(Protocol):
    """Takes what the stream finds, in the order in which it came."""

    def on_pdu(self, kind: PduType, body: bytes) -> None:
        """A whole PDU that is no P-DATA-TF."""

    def on_data_pdu(self) -> None:
        """The header of a P-DATA-TF; its fragments follow."""

    def on_fragment(self, context_id: int, command: bool, last: bool, data: memoryview) -> None:
        """A piece of a fragment; `last` only with the end of a message's last fragment."""


class _Phase(Enum):
    HEADER = auto()
    BODY = auto()
    PDV_HEADER = auto()
    PDV = auto()


class PduStream:
    """One connection's receiving side: `buffer()` says where to read to, `received(n)` that n bytes came."""

    def __init__(self, limits: Limits, receiver: PduReceiver, memory: ReceiveMemory | None = None) -> None:
        self._limits = limits
        self._memory = memory or Unshared(limits.receive_window)
        self._receiver = receiver
        self._arena = memoryview(bytearray(SMALL_ARENA))
        self._arena_bytes = SMALL_ARENA
        self._lent = False
        self._start = 0  # of what is not parsed yet
        self._end = 0  # of what has been received
        self._phase = _Phase.HEADER
        self._kind = PduType.ABORT
        self._body_left = 0
        self._pdu_left = 0
        self._pdv_left = 0
        self._pdv_context = 0
        self._pdv_control = 0
        self._short = 0
        self._ended = False  # a data set
        self._stopped = False

    def stop(self) -> None:
        """Throw away whatever comes from now on, and hold no memory."""
        self._stopped = True
        self._arena, self._start, self._end, self._lent = _NOTHING, 0, 0, False
        self._arena_bytes = SMALL_ARENA

    def buffer(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._stopped:
            self._start = self._end = 0
            if self._lent or len(self._arena) != self._arena_bytes:
                self._arena, self._lent = memoryview(bytearray(self._arena_bytes)), False
            return self._arena
        if self._start == self._end and not self._lent:
            self._start = self._end = 0
        room = len(self._arena) - self._end
        wanted = arena_bytes(self._arena_bytes, self._memory)
        if room < min(MIN_READ, wanted // 2) or len(self._arena) < wanted:
            rest = self._arena[self._start : self._end]
            # An A-ASSOCIATE's arena grows with what has come, not with what the peer says will come.
            arena = memoryview(Arena(max(wanted, 2 * len(rest)), self._memory))
            arena[: len(rest)] = rest
            self._arena, self._start, self._end, self._lent = arena, 0, len(rest), False
        return self._arena[self._end :]

    def received(self, count: int) -> None:
        """Parse `count` more bytes. Raises ProtocolError; nothing can be parsed after that."""
        if self._stopped:
            if count == self._arena_bytes:  # it goes on and on: throw it away with less ado
                self._arena_bytes = MIN_READ
            return
        if (
            count == len(self._arena) - self._end
            and self._arena_bytes >= FIRST_ARENA
            and not self._pdv_control & COMMAND_BIT  # commands by the hundred are read in small portions
        ):
            self._arena_bytes = min(2 * self._arena_bytes, LARGE_ARENA)
        self._end += count
        while not self._stopped and self._advance():
            pass
        if (
            self._ended
            and self._start == self._end
            and self._phase is _Phase.HEADER
            and not self._memory.ample  # else it is kept: new memory for each image would cost as much again
        ):
            # nothing more of this data set: between two the connection holds no memory
            self._arena, self._start, self._end, self._lent, self._ended = _NOTHING, 0, 0, False, False

    def _advance(self) -> bool:
        """Take one step through the bytes at hand; False when more are needed."""
        available = self._end - self._start
        match self._phase:
            case _Phase.PDV:
                return self._pdv_data(available)
            case _Phase.PDV_HEADER:
                return self._pdv_begin(available)
            case _Phase.HEADER:
                if available < HEADER_BYTES:
                    return False
                self._pdu_begin()
                return True
            case _Phase.BODY:
                if available < self._body_left:
                    return False
                body = bytes(self._arena[self._start : self._start + self._body_left])
                self._start += self._body_left
                self._phase, self._body_left = _Phase.HEADER, 0
                self._receiver.on_pdu(self._kind, body)
                return True

    def _pdu_begin(self) -> None:
        kind, length = _header(self._arena, self._start)
        self._start += HEADER_BYTES
        if kind == PduType.DATA_TF:
            if length > self._limits.max_pdu:
                raise ProtocolError(f"P-DATA-TF of {length} bytes, {self._limits.max_pdu} were offered")
            self._arena_bytes = max(self._arena_bytes, FIRST_ARENA)
            self._pdu_left = length
            self._phase = _Phase.PDV_HEADER
            if length == 0:
                self._without_progress()
            self._receiver.on_data_pdu()
            return
        if kind in (PduType.ASSOCIATE_RQ, PduType.ASSOCIATE_AC):
            if length > self._limits.associate_bytes:
                raise ProtocolError(f"A-ASSOCIATE of {length} bytes is too long")
        elif kind in _KINDS:
            if length != _SHORT_PDU_BYTES:
                raise ProtocolError(f"PDU of type {kind:02X} with {length} bytes instead of 4")
        else:
            raise ProtocolError(f"PDU of unknown type {kind:02X}", AbortReason.UNRECOGNIZED_PDU)
        self._kind, self._body_left, self._phase = PduType(kind), length, _Phase.BODY

    def _pdv_begin(self, available: int) -> bool:
        if self._pdu_left == 0:
            self._phase = _Phase.HEADER
            return True
        if self._pdu_left < PDV_HEADER_BYTES:
            raise ProtocolError("P-DATA-TF ends within a presentation data value")
        if available < PDV_HEADER_BYTES:
            return False
        length, self._pdv_context, self._pdv_control = _pdv_header(self._arena, self._start)
        if length < 2 or length + 4 > self._pdu_left:
            raise ProtocolError(f"presentation data value of {length} bytes does not fit its P-DATA-TF")
        self._start += PDV_HEADER_BYTES
        self._pdu_left -= length + 4
        self._pdv_left = length - 2
        self._phase = _Phase.PDV
        if length < SHORT + 2 and not self._pdv_control & LAST_BIT:
            self._without_progress()
        else:
            self._short = 0
        return True

    def _pdv_data(self, available: int) -> bool:
        left = self._pdv_left
        whole = left <= available
        if not whole and not available:
            return False
        taken = left if whole else available
        last = whole and bool(self._pdv_control & LAST_BIT)
        if whole:
            self._phase = _Phase.PDV_HEADER
        start = self._start
        self._start = start + taken
        self._pdv_left = left - taken
        if taken or last:
            self._lent = True
            self._ended = last and not self._pdv_control & COMMAND_BIT
            piece = self._arena[start : start + taken]
            self._receiver.on_fragment(self._pdv_context, bool(self._pdv_control & COMMAND_BIT), last, piece)
        return True

    def _without_progress(self) -> None:
        self._short += 1
        if self._short > self._limits.short_fragments:
            raise ProtocolError("fragments with next to nothing in them")
