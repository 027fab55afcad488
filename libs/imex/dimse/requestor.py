"""Requests associations and uses them (PS3.8 requestor, PS3.4 storage and verification SCU)."""

import asyncio
import contextlib
import errno
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial

from imex.dimse import command
from imex.dimse.command import Command, CommandField, Tag
from imex.dimse.errors import (
    AssociationAborted,
    AssociationReleased,
    ConnectionFailed,
    ContextNotAccepted,
    DimseError,
    ProtocolError,
)
from imex.dimse.inbox import ReleaseConfirmed, ReleaseRequested
from imex.dimse.items import ContextOutcome, RoleSelection
from imex.dimse.limits import Limits
from imex.dimse.messages import MessageReader, pdus, send_message
from imex.dimse.negotiation import accepted_contexts, fragment_bytes, request_for
from imex.dimse.pdu import AssociateAccept, AssociateRequest
from imex.dimse.service import StoreResponse
from imex.dimse.sop_classes import VERIFICATION
from imex.dimse.timing import Clock
from imex.dimse.upper_layer import UpperLayer

_STOPPED = "association aborted by this side"

Addresses = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host and a port to the addresses that may be connected to, at least one."""


@contextlib.asynccontextmanager
async def connect(  # noqa: PLR0917  an address and two names, in DICOM's own order
    host: str,
    port: int,
    calling_ae: str,
    called_ae: str,
    contexts: Sequence[tuple[str, Sequence[str]]],
    limits: Limits | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    clock: Clock | None = None,
    roles: Sequence[RoleSelection] = (),
) -> AsyncIterator["Association"]:
    """An association as `open_association` makes it, released when the block ends, aborted when it raises."""
    association = await open_association(
        host, port, calling_ae, called_ae, contexts, limits, tls=tls, clock=clock, roles=roles
    )
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    else:
        await association.release()


async def open_association(  # noqa: PLR0917  an address and two names, in DICOM's own order
    host: str,
    port: int,
    calling_ae: str,
    called_ae: str,
    contexts: Sequence[tuple[str, Sequence[str]]],
    limits: Limits | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    clock: Clock | None = None,
    roles: Sequence[RoleSelection] = (),
    addresses: Addresses | None = None,
) -> "Association":
    """An association with `host`, which the caller releases or aborts.

    `contexts` are up to 128 pairs of abstract syntax and the transfer syntaxes to propose for it, the
    favoured first. With `tls` the connection is secured before a byte of DICOM is sent (PS3.15 annex B).
    `roles` are proposed where this side is not only the SCU (PS3.7 D.3.3.4). `addresses` says to which of
    the host's a connection may be made, and raises OSError where to none.
    Raises ConnectionFailed, AssociationRejected, AssociationAborted, DimseTimeout or ProtocolError;
    ValueError for contexts or AE titles that cannot be proposed.
    """
    limits = limits or Limits()
    request = request_for(calling_ae, called_ae, contexts, limits, roles)
    clock = clock or asyncio.get_running_loop()
    layer = await _connected(host, port, request, limits, tls, clock, addresses)
    try:
        confirmed = await layer.receive(
            limits.associate_s, f"no answer to the association request within {limits.associate_s:g} s"
        )
        assert isinstance(confirmed, AssociateAccept)
        return Association(
            layer,
            accepted_contexts(request, confirmed),
            fragment_bytes(confirmed.user_information.max_length, limits),
            confirmed,
            limits,
            refused=_refused(request, confirmed),
        )
    except ProtocolError as error:
        layer.violated(error)
        raise
    except BaseException:
        layer.abort(AssociationAborted(0, 0, _STOPPED))
        raise


async def _connected(  # noqa: PLR0917  what a connection is made of
    host: str,
    port: int,
    request: AssociateRequest,
    limits: Limits,
    tls: ssl.SSLContext | None,
    clock: Clock,
    addresses: Addresses | None,
) -> UpperLayer:
    named = host if tls is not None else None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limits.connect_s):
            places = [host] if addresses is None else await addresses(host, port)
            for place in places:
                layer = UpperLayer(limits=limits, clock=clock, request=request)
                try:
                    await loop.create_connection(
                        partial(_itself, layer), place, port, ssl=tls, server_hostname=named
                    )
                except OSError:
                    if place == places[-1]:
                        raise
                else:
                    break
    except TimeoutError:
        raise ConnectionFailed(f"no connection to {host}:{port} within {limits.connect_s:g} s") from None
    except OSError as error:
        raise ConnectionFailed(f"no connection to {host}:{port}: {_words(error)}") from error
    return layer


def _itself(layer: UpperLayer) -> UpperLayer:
    return layer


class Association:
    """An established association of the requestor; `connect` makes it. One operation at a time."""

    def __init__(
        self,
        layer: UpperLayer,
        accepted: Mapping[tuple[str, str], int],
        fragment_bytes: int,
        confirmed: AssociateAccept,
        limits: Limits,
        *,
        refused: Mapping[tuple[str, str], int],
    ) -> None:
        self._layer = layer
        self._limits = limits
        self._fragment_bytes = fragment_bytes
        self._reader = MessageReader(layer, limits)
        self._turn = asyncio.Lock()
        self._message_id = 0
        self.accepted = accepted
        self.refused = refused
        self.peer_implementation_uid = confirmed.user_information.implementation_uid
        self.peer_implementation_version = confirmed.user_information.implementation_version

    @property
    def usable(self) -> bool:
        """Whether more can be asked on it."""
        return self._layer.end is None

    def accepts(self, sop_class: str, transfer_syntax: str) -> bool:
        """Whether an instance can be stored as it is."""
        return (sop_class, transfer_syntax) in self.accepted

    async def echo(self) -> int:
        """C-ECHO; returns its status. Raises DimseError."""
        context_id = next((id_ for (syntax, _), id_ in self.accepted.items() if syntax == VERIFICATION), None)
        if context_id is None:
            raise ContextNotAccepted("the peer does not accept Verification")
        async with self._turn:
            message_id = self._next_message_id()
            request = command.echo_request(message_id, VERIFICATION)
            with self._abort_unless_done():
                self._layer.send(list(pdus(context_id, request, self._fragment_bytes)))
                response = await self._response(CommandField.C_ECHO_RSP, message_id)
            return response.require_number(Tag.STATUS)

    async def store(
        self,
        sop_class: str,
        sop_instance: str,
        transfer_syntax: str,
        chunks: AsyncIterable[bytes | memoryview] | memoryview,
        length: int,
        *,
        priority: int = 0,
        move_originator: tuple[str, int] | None = None,
    ) -> StoreResponse:
        """C-STORE of a data set of `length` bytes that comes as `chunks` or whole; returns the peer's answer.

        The chunks are sent as they come and without a copy, so they must not change afterwards. A cancelled
        or failed store aborts the association, as a data set cannot be broken off. Raises ContextNotAccepted
        (the association is as before), ValueError when the chunks are not of `length` bytes, or DimseError.
        """
        context_id = self.accepted.get((sop_class, transfer_syntax))
        if context_id is None:
            raise ContextNotAccepted(f"the peer does not accept SOP class {sop_class} in {transfer_syntax}")
        async with self._turn:
            message_id = self._next_message_id()
            request = command.store_request(
                message_id, sop_class, sop_instance, priority=priority, move_originator=move_originator
            )
            with self._abort_unless_done():
                await send_message(self._layer, context_id, request, chunks, length, self._fragment_bytes)
                response = await self._response(CommandField.C_STORE_RSP, message_id)
                answered_for = response.text(Tag.AFFECTED_SOP_INSTANCE_UID)
                if answered_for is not None and answered_for != sop_instance:
                    raise ProtocolError("the peer answered for another instance than it was sent")
            return StoreResponse(response.require_number(Tag.STATUS), response.text(Tag.ERROR_COMMENT) or "")

    async def report(self, sop_class: str, sop_instance: str, event_type: int, data_set: bytes) -> int:
        """N-EVENT-REPORT with its information (empty: none); returns the peer's status.

        Raises ContextNotAccepted or DimseError. This side is the SCP of `sop_class`: propose that role.
        """
        found = (id_ for (abstract_syntax, _), id_ in self.accepted.items() if abstract_syntax == sop_class)
        context_id = next(found, None)
        if context_id is None:
            raise ContextNotAccepted(f"the peer does not accept SOP class {sop_class}")
        async with self._turn:
            message_id = self._next_message_id()
            request = command.event_report_request(
                message_id, sop_class, sop_instance, event_type, data_set=bool(data_set)
            )
            data = memoryview(data_set) if data_set else None
            with self._abort_unless_done():
                await send_message(
                    self._layer, context_id, request, data, len(data_set), self._fragment_bytes
                )
                response = await self._response(CommandField.N_EVENT_REPORT_RSP, message_id)
            return response.require_number(Tag.STATUS)

    async def release(self) -> None:
        """A-RELEASE, waiting for the peer's answer; no effect when the association has ended.

        Does not raise: whatever happens now, the association is over and its operations were answered before.
        """
        async with self._turn:
            try:
                self._layer.request_release()
                while True:
                    answer = await self._layer.receive(
                        self._limits.release_s, "no answer to the release request"
                    )
                    if isinstance(answer, ReleaseRequested):
                        self._layer.respond_release()
                    elif isinstance(answer, ReleaseConfirmed):
                        return
            except DimseError:
                self._layer.close()

    async def rest(self, seconds: float) -> None:
        """Leave it unused for so long, or until the peer ends it, whose release is answered.

        Afterwards `usable` says whether it is still there. To use it before, cancel this and wait for it.
        """
        with contextlib.suppress(TimeoutError, DimseError):
            async with asyncio.timeout(seconds):
                answer = await self._layer.receive(2 * seconds + 1, "nothing was asked of the peer")
            if isinstance(answer, ReleaseRequested):
                self._layer.respond_release()
            else:
                self.abort()

    def abort(self) -> None:
        """A-ABORT and close; no effect when the association has ended."""
        self._layer.abort(AssociationAborted(0, 0, _STOPPED))
        self._layer.finish_closing()

    async def _response(self, field: CommandField, message_id: int) -> Command:
        seconds = self._limits.response_s
        answer = await self._reader.next_command(seconds, f"no response within {seconds:g} s")
        if isinstance(answer, ReleaseRequested):
            self._layer.respond_release()
            raise AssociationReleased("the peer released the association instead of answering")
        if isinstance(answer, ReleaseConfirmed):
            raise ProtocolError("the peer confirmed a release that nobody had asked for")
        response = answer[1]
        if response.field != field or response.require_number(Tag.MESSAGE_ID_RESPONDED_TO) != message_id:
            raise ProtocolError("the peer answered something that had not been asked")
        if response.has_data_set:
            raise ProtocolError("the response has a data set")
        return response

    @contextlib.contextmanager
    def _abort_unless_done(self) -> Iterator[None]:
        try:
            yield
        except ProtocolError as error:
            self._layer.violated(error)
            raise
        except BaseException:
            self.abort()
            raise

    def _next_message_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id


def _refused(request: AssociateRequest, confirmed: AssociateAccept) -> Mapping[tuple[str, str], int]:
    """(abstract syntax, transfer syntax) → why not, of what the peer has answered with a refusal."""
    proposed = {context.id: context for context in request.contexts}
    return {
        (proposed[result.id].abstract_syntax, transfer_syntax): result.outcome
        for result in confirmed.contexts
        if result.outcome != ContextOutcome.ACCEPTED
        for transfer_syntax in proposed[result.id].transfer_syntaxes
    }


def _words(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED or isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or type(error).__name__).lower().replace('_', ' ')}"
    return error.strerror or type(error).__name__
