"""One association of a simulated DICOM PACS, PDU by PDU, so that it can go wrong at any of them (PS3.8)."""

import asyncio
import hashlib
import struct
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from pydicom import Dataset

from imex.dicom.commitment import PUSH_MODEL
from imex.dicom.part10 import IMPLEMENTATION_CLASS_UID
from imex.dimse import Limits
from imex.dimse import pdu as codec
from imex.dimse.errors import ProtocolError
from imex.dimse.items import ContextOutcome, ContextResult, ProposedContext, UserInformation
from imex.dimse.pdu import PduType
from imex.dimse.sop_classes import VERIFICATION, is_storage
from imex.simulation import commands
from imex.simulation.failures import Failure
from imex.simulation.hang_up import hung_up
from imex.simulation.misbehaviour import Misbehaviour
from imex.simulation.options import Options
from imex.simulation.shelf import Shelf

STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
_QUERIES: Final = frozenset({STUDY_ROOT_FIND, PATIENT_ROOT_FIND})
_UNCOMPRESSED: Final = ("1.2.840.10008.1.2.1", commands.IMPLICIT)
MAX_PDU: Final = 64 * 1024
_LONGEST_PDU: Final = 1 << 20
_IN_MEMORY: Final = 4 << 20
_PATIENCE_S: Final = 3600.0
_LOOK_S: Final = 0.05
REJECTIONS: Final = {"reject-transient": (2, 3, 1), "reject-limit": (2, 3, 2), "reject-permanent": (1, 1, 7)}


class Over(Exception):
    """The association has ended."""


@dataclass(slots=True)
class Incoming:
    """A C-STORE whose data set comes in."""

    context_id: int
    request: Dataset
    transfer_syntax: str
    struck: Mapping[str, Failure]
    spool: BinaryIO
    digest: "hashlib._Hash"
    size: int = 0


class Peer:
    """The wire: PDUs in and out, at the pace that is wanted, and every way to end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.rate = 0.0
        """Bytes a second that are read; 0 as they come."""

    async def pdu(self) -> tuple[int, bytes]:
        """The next PDU. Raises Over when there is none."""
        try:
            kind, length = struct.unpack(">BxI", await self._read(6))
            if length > _LONGEST_PDU:
                self.abort()
                raise Over
            return kind, await self._read(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Over from None

    async def send(self, data: bytes) -> None:
        """Write it all. Raises Over when nobody reads any more."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            raise Over from None

    async def until_gone(self) -> None:
        """Read nothing more until the other side has gone; then raises Over."""
        transport = self._writer.transport
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        connection = self._writer.get_extra_info("socket")
        while asyncio.get_running_loop().time() < deadline and not transport.is_closing():
            if hung_up(connection):
                break
            await asyncio.sleep(_LOOK_S)
        transport.abort()
        raise Over

    def abort(self) -> None:
        """A-ABORT, and no more."""
        self._writer.write(codec.encode_abort(codec.Abort(0, 0)))
        self._writer.close()

    def cut(self) -> None:
        """Close the connection without a word."""
        self._writer.transport.abort()

    async def _read(self, count: int) -> bytes:
        if not self.rate:
            return await self._reader.readexactly(count)
        parts, step = [], max(1, round(self.rate / 10))
        while count:
            part = await self._reader.readexactly(min(step, count))
            parts.append(part)
            count -= len(part)
            await asyncio.sleep(len(part) / self.rate)
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Services:
    """What an association hands its messages to."""

    store: Callable[["SimulatedAssociation", Incoming], Awaitable[None]]
    find: Callable[["SimulatedAssociation", int, Dataset, Dataset], Awaitable[None]]
    commit: Callable[["SimulatedAssociation", int, Dataset, Dataset], Awaitable[None]]


class SimulatedAssociation:
    """From the A-ASSOCIATE-RQ to the end, well behaved or not."""

    def __init__(
        self, peer: Peer, options: Options, misbehaviour: Misbehaviour, shelf: Shelf, services: Services
    ) -> None:
        self.peer = peer
        self.options = options
        self._misbehaviour = misbehaviour
        self._shelf = shelf
        self._services = services
        self.syntaxes: dict[int, str] = {}
        self.calling_ae = ""
        self.open = False
        self._command = bytearray()
        self._data = bytearray()
        self._request: Dataset | None = None
        self._incoming: Incoming | None = None

    async def run(self) -> None:
        """Serve it to its end; never raises for what a peer may do."""
        try:
            await self._accept()
            while True:
                await self._next()
        except Over:
            pass
        except ProtocolError:
            self.peer.abort()
        finally:
            self.open = False
            if self._incoming is not None:
                self._incoming.spool.close()

    async def _accept(self) -> None:
        kind, body = await self.peer.pdu()
        if kind != PduType.ASSOCIATE_RQ:
            raise Over
        request = codec.decode_associate_request(body, Limits())
        self.calling_ae = request.calling_ae
        struck = self._misbehaviour.occasion("association")
        if "stall-accept" in struck:
            self._shelf.associations["never answered"] += 1
            await self.peer.until_gone()
        answer = next((REJECTIONS[name] for name in struck if name in REJECTIONS), None)
        if answer is None and not self.options.any_called and request.called_ae != self.options.ae_title:
            answer = REJECTIONS["reject-permanent"]
        if answer is not None:
            self._shelf.associations["rejected"] += 1
            await self.peer.send(codec.encode_associate_reject(codec.AssociateReject(*answer)))
            await self.peer.pdu()
            raise Over
        results = tuple(self._result(context, struck) for context in request.contexts)
        self.syntaxes = {
            one.id: one.transfer_syntax for one in results if one.outcome == ContextOutcome.ACCEPTED
        }
        self._shelf.associations["accepted"] += 1
        self.open = True
        information = UserInformation(MAX_PDU, IMPLEMENTATION_CLASS_UID, "IMEX_SIMULATED")
        accept = codec.AssociateAccept(request.called_ae, request.calling_ae, results, information)
        await self.peer.send(codec.encode_associate_accept(accept))

    def _result(self, context: ProposedContext, struck: Mapping[str, Failure]) -> ContextResult:
        abstract, proposed = context.abstract_syntax, context.transfer_syntaxes
        chosen, outcome = proposed[0], ContextOutcome.ACCEPTED
        if is_storage(abstract):
            if "refuse-class" in struck:
                outcome = ContextOutcome.ABSTRACT_SYNTAX_NOT_SUPPORTED
            elif "refuse-syntax" in struck or (
                "implicit-only" in struck and commands.IMPLICIT not in proposed
            ):
                outcome = ContextOutcome.TRANSFER_SYNTAXES_NOT_SUPPORTED
            elif "implicit-only" in struck:
                chosen = commands.IMPLICIT
        elif not self._serves(abstract):
            outcome = ContextOutcome.ABSTRACT_SYNTAX_NOT_SUPPORTED
        else:
            fitting = next((one for one in _UNCOMPRESSED if one in proposed), None)
            if fitting is None:
                outcome = ContextOutcome.TRANSFER_SYNTAXES_NOT_SUPPORTED
            else:
                chosen = fitting
        return ContextResult(context.id, outcome, chosen)

    def _serves(self, abstract: str) -> bool:
        if abstract in _QUERIES:
            return not self._misbehaviour.standing("find-none")
        if abstract == PUSH_MODEL:
            return not self._misbehaviour.standing("commit-none")
        return abstract == VERIFICATION

    async def _next(self) -> None:
        kind, body = await self.peer.pdu()
        if kind == PduType.RELEASE_RQ:
            self.open = False
            await self.peer.send(codec.encode_release_response())
            await self.peer.pdu()
            raise Over
        if kind != PduType.DATA_TF:
            raise Over
        position = 0
        while position + 6 <= len(body):
            length, context_id, control = struct.unpack_from(">IBB", body, position)
            fragment = body[position + 6 : position + 4 + length]
            position += 4 + length
            last = bool(control & codec.LAST_BIT)
            if control & codec.COMMAND_BIT:
                await self._command_fragment(context_id, fragment, last)
            else:
                await self._data_fragment(context_id, fragment, last)

    async def _command_fragment(self, context_id: int, fragment: bytes, last: bool) -> None:
        self._command += fragment
        if not last:
            return
        request = commands.decoded(bytes(self._command))
        self._command.clear()
        if context_id not in self.syntaxes or "CommandField" not in request:
            self.peer.abort()
            raise Over
        field = request.CommandField
        if field == commands.C_ECHO:
            await self.peer.send(commands.message(context_id, commands.response(request, 0)))
        elif field == commands.C_STORE:
            self._begin(context_id, request)
        elif field in {commands.C_FIND, commands.N_ACTION}:
            self._request = request
            self._data.clear()
        elif not field & commands.RESPONSE and field != commands.C_CANCEL:
            await self.peer.send(commands.message(context_id, commands.response(request, 0x0211)))

    def _begin(self, context_id: int, request: Dataset) -> None:
        spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  closed with the data set
        struck = self._misbehaviour.occasion("instance")
        self._incoming = Incoming(
            context_id, request, self.syntaxes[context_id], struck, cast("BinaryIO", spool), hashlib.sha256()
        )
        if "slow-reader" in struck:
            self.peer.rate = self.options.rate

    async def _data_fragment(self, context_id: int, fragment: bytes, last: bool) -> None:
        incoming = self._incoming
        if incoming is None:
            self._data += fragment
            if last and self._request is not None:
                request, self._request = self._request, None
                identifier = commands.decoded(bytes(self._data), self.syntaxes[context_id])
                serve = (
                    self._services.find if request.CommandField == commands.C_FIND else self._services.commit
                )
                await serve(self, context_id, request, identifier)
            return
        if "stall-data" in incoming.struck:
            await self.peer.until_gone()
        if "abort-mid-data" in incoming.struck:
            self.peer.abort()
            raise Over
        incoming.spool.write(fragment)
        incoming.digest.update(fragment)
        incoming.size += len(fragment)
        if last:
            self._incoming = None
            self.peer.rate = 0.0
            with incoming.spool:
                await self._services.store(self, incoming)
