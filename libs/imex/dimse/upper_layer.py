"""One end of one association: PS3.8's state machine on an asyncio transport.

The bytes go through `PduStream`, the decisions are `state.step`'s, and `_carry_out` does what the actions
say. What the peer sends is queued as indications and taken by one reader with `receive`, which is also what
slows the peer down: reading stops while more than the receive window waits to be taken.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import cast

from imex.dimse import pdu
from imex.dimse.errors import (
    AbortReason,
    AbortSource,
    AssociationAborted,
    AssociationRejected,
    AssociationReleased,
    ConnectionLost,
    DimseError,
    DimseTimeout,
    ProtocolError,
)
from imex.dimse.inbox import Inbox, Indication, ReleaseConfirmed, ReleaseRequested
from imex.dimse.limits import Limits
from imex.dimse.memory import TLS_BYTES, TLS_READ_AHEAD, ReceiveMemory
from imex.dimse.pdu import Abort, AssociateAccept, AssociateReject, AssociateRequest, PduType
from imex.dimse.state import Action, Event, InvalidTransition, State, step
from imex.dimse.stream import PduStream
from imex.dimse.timing import Clock, PeerWatch, Timer

_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)


_EVENTS = {
    PduType.ASSOCIATE_RQ: Event.ASSOCIATE_RQ,
    PduType.ASSOCIATE_AC: Event.ASSOCIATE_AC,
    PduType.ASSOCIATE_RJ: Event.ASSOCIATE_RJ,
    PduType.RELEASE_RQ: Event.RELEASE_RQ,
    PduType.RELEASE_RP: Event.RELEASE_RP,
    PduType.ABORT: Event.ABORT,
}
_RELEASED = "the association has been released"


class UpperLayer(asyncio.BufferedProtocol):
    """Protocol of one connection, acceptor's or requestor's.

    `on_request` is called with an A-ASSOCIATE-RQ that the provider can accept (acceptor only) and has to lead
    to `accept` or `reject`; `unacceptable` may turn a request down before that, for the provider's reasons.
    `on_closed` is called once, when the connection is gone. Local primitives raise the error that ended the
    association when it has ended.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        clock: Clock,
        request: AssociateRequest | None = None,
        on_request: Callable[["UpperLayer", AssociateRequest], None] | None = None,
        unacceptable: Callable[["UpperLayer", AssociateRequest], AssociateReject | None] | None = None,
        on_closed: Callable[["UpperLayer"], None] | None = None,
        memory: ReceiveMemory | None = None,
    ) -> None:
        self._limits = limits
        self._request = request
        self._on_request = on_request
        self._unacceptable = unacceptable
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._memory = memory
        self._tls_bytes = 0
        self._stream = PduStream(limits, self, memory)
        self._artim = Timer(clock, lambda: self._local_event(Event.ARTIM_EXPIRED))
        self._write_deadline = Timer(clock, self._write_expired)
        self._linger = Timer(clock, self.close)
        self._watch = PeerWatch(clock, self._peer_expired)
        self._inbox = Inbox(limits, memory)
        self._writers: asyncio.Future[None] | None = None
        self._unsent = 0
        self._ended_bytes = 0
        self._ended_pieces = 0
        self._aborting = Abort(AbortSource.USER, 0)
        self._ending: asyncio.Future[None] | None = None
        self.state = State.IDLE
        self.end: DimseError | None = None
        self.peer: tuple[str, int] = ("", 0)
        self.requested = False  # an A-ASSOCIATE-RQ that could be read has come
        self.requestor = request is not None  # which decides a release collision
        if request is not None:
            self._apply(Event.ASSOCIATE_REQUEST)

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; an acceptor starts ARTIM, a requestor sends its A-ASSOCIATE-RQ."""
        self._transport = cast(asyncio.Transport, transport)
        self._inbox.connected(self._transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = (str(peer[0]), int(peer[1]))
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        unsent = self._limits.requestor_unsent if self.requestor else self._limits.unsent
        self._count_tls(self._transport)
        self._transport.set_write_buffer_limits(high=unsent)
        self._apply(Event.TRANSPORT_CONFIRMED if self.requestor else Event.TRANSPORT_INDICATED)
        if self.end is not None:  # aborted before it was there
            self.close()

    def _count_tls(self, transport: asyncio.Transport) -> None:
        """TLS has buffers of its own below this layer: kept small, and charged."""
        if transport.get_extra_info("ssl_object") is None:
            return
        limit = getattr(transport, "set_read_buffer_limits", None)
        if limit is not None:
            limit(high=TLS_READ_AHEAD)
        if self._memory is not None:
            self._tls_bytes = TLS_BYTES
            self._memory.charge(TLS_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to receive to."""
        return self._stream.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Parse and act on what came; what breaks the protocol aborts the association."""
        self._watch.bytes += nbytes
        if self.end is not None and self._after_end(nbytes):
            return
        try:
            self._stream.received(nbytes)
        except ProtocolError as error:
            self._stream.stop()
            self._invalid(error)
        self._inbox.hold_back()
        if self.end is None:
            self._acknowledge()

    def _ignored(self) -> None:
        """One more PDU or fragment after the end."""
        self._ended_pieces += 1
        if self._ended_pieces > self._limits.ended_pieces:
            self._stream.stop()
            self.close()

    def _after_end(self, nbytes: int) -> bool:
        """Whether enough is enough: what an ended peer sends is only thrown away."""
        self._ended_bytes += nbytes
        if self._ended_bytes > self._limits.ended_bytes:
            self.close()
            return True
        return False

    def eof_received(self) -> None:
        """The peer sends no more, and half a connection is no use: it is closed once all is sent, soon."""
        self._linger.start(self._limits.close_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by whomever."""
        self._local_event(Event.TRANSPORT_CLOSED)
        if self._memory is not None:
            self._memory.discharge(self._tls_bytes)
            self._tls_bytes = 0
        self._stream.stop()
        self._artim.stop()
        self._linger.stop()
        self._write_deadline.stop()
        self._finish(ConnectionLost("the connection was lost"))
        if self._on_closed is not None:
            self._on_closed(self)

    def _acknowledge(self) -> None:
        """Acknowledge at once, where the system can.

        A peer that leaves Nagle's algorithm on keeps the rest of a small message until what came before is
        acknowledged, and a delayed acknowledgement takes 40 ms: each C-STORE would. The option does not last.
        """
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if _QUICK_ACK is not None and sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError):  # the connection may just have gone
                sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    def pause_writing(self) -> None:
        """The peer reads slower than we write: writers wait, and the peer has until the write deadline."""
        self._writers = asyncio.get_running_loop().create_future()
        self._unsent = self._write_backlog()
        self._write_deadline.start(self._limits.write_s)

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._write_deadline.stop()
        self._wake_writers()

    # -- the stream's side

    def on_pdu(self, kind: PduType, body: bytes) -> None:
        """A whole PDU: decode what its action will need, then step."""
        decoded: object = None
        match kind:
            case _ if self.state is State.AWAITING_CLOSE:
                pass  # no action there looks into it
            case PduType.ASSOCIATE_RQ:
                decoded = pdu.decode_associate_request(body, self._limits)
            case PduType.ASSOCIATE_AC:
                decoded = pdu.decode_associate_accept(body, self._limits)
            case PduType.ASSOCIATE_RJ:
                decoded = pdu.decode_associate_reject(body)
            case PduType.ABORT:
                decoded = pdu.decode_abort(body)
            case _:
                pass
        self._apply(_EVENTS[kind], decoded)

    def on_data_pdu(self) -> None:
        """A P-DATA-TF begins."""
        self._apply(Event.DATA_TF)

    def on_fragment(self, context_id: int, command: bool, last: bool, data: memoryview) -> None:
        """Queue a piece of a message, unless the state ignores data."""
        if self.state in (State.ESTABLISHED, State.AWAITING_RELEASE_RP):
            self._inbox.put_fragment(context_id, command, last, data)
        else:
            self._ignored()

    # -- the user's side

    async def receive(self, seconds: float, words: str, *, within_message: bool = False) -> Indication:
        """The next indication. Raises what ended the association once all that came before is taken.

        Without one in `seconds`, or in mid-message without the progress that the limits ask for, the
        association is aborted and DimseTimeout with `words` raised.
        """
        while (indication := self._inbox.take()) is None:
            if self.end is not None:
                raise self.end
            if within_message:
                self._watch.wait_for_progress(seconds, self._limits.progress_bytes, words)
            else:
                self._watch.wait(seconds, words)
            try:
                await self._inbox.wait()
            finally:
                self._watch.leave()
        return indication

    async def arrival(self) -> None:
        """Wait until `receive` has something to give or to raise; may be cancelled, and has no deadline."""
        while self._inbox.empty and self.end is None:
            await self._inbox.wait()

    def ending(self) -> asyncio.Future[None]:
        """Done when the association has ended; not to be cancelled."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_future()
            if self.end is not None:
                self._ending.set_result(None)
        return self._ending

    def accept(self, accept: AssociateAccept) -> None:
        """A-ASSOCIATE response: accepted."""
        self._primitive(Event.ACCEPT, accept)

    def reject(self, reject: AssociateReject) -> None:
        """A-ASSOCIATE response: rejected."""
        self._primitive(Event.REJECT, reject)

    def send(self, buffers: Sequence[bytes | memoryview]) -> None:
        """P-DATA request: `buffers` together are whole P-DATA-TF PDUs.

        Whole, because an A-ABORT that follows a part would be taken for the rest of its data. The buffers
        must not change afterwards. Call `drain` before more is made.
        """
        self._primitive(Event.DATA_REQUEST, buffers)

    async def drain(self) -> None:
        """Wait until the peer has read enough for more to be sent."""
        if self._writers is not None:
            await asyncio.shield(self._writers)
        if self.end is not None:
            raise self.end

    def request_release(self) -> None:
        """A-RELEASE request."""
        self._primitive(Event.RELEASE_REQUEST)

    def respond_release(self) -> None:
        """A-RELEASE response."""
        self._primitive(Event.RELEASE_RESPONSE)

    def abort(self, error: DimseError, abort: Abort = Abort(AbortSource.USER, 0)) -> None:  # noqa: B008
        """A-ABORT request, at any time; `error` is what a reader sees. No effect on what has ended."""
        if self.end is None:
            self._aborting = abort
            self._finish(error)
            self._local_event(Event.ABORT_REQUEST)

    def violated(self, error: ProtocolError) -> None:
        """The peer broke the protocol above the upper layer (DIMSE): abort with the error's reason."""
        self.abort(error, Abort(AbortSource.PROVIDER, error.reason))

    def forget_received(self) -> None:
        """Nobody receives any more."""
        self._inbox.clear()

    def finish_closing(self) -> None:
        """Close without waiting for the peer to do so, once what was written is sent."""
        self._artim.stop()
        self._close()

    def peer_certificate(self) -> bytes | None:
        """The peer's verified TLS certificate in DER; None without TLS."""
        tls = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        certificate: bytes | None = tls.getpeercert(binary_form=True) if tls is not None else None
        return certificate

    @property
    def idle(self) -> bool:
        """Whether no association is asked for or under way: not yet, or not any more."""
        return not self.requested or self.end is not None

    @property
    def secure(self) -> bool:
        """Whether the connection has TLS."""
        return self._transport is not None and self._transport.get_extra_info("ssl_object") is not None

    @property
    def closing(self) -> bool:
        """Whether the connection is being closed, or was never there."""
        return self._transport is None or self._transport.is_closing()

    def close(self) -> None:
        """Drop the connection now, without a word."""
        if self._transport is not None:
            self._transport.abort()

    # -- the machine

    def _primitive(self, event: Event, argument: object = None) -> None:
        if self.end is not None:
            raise self.end
        self._apply(event, argument)

    def _local_event(self, event: Event) -> None:
        """An event that may come when it means nothing any more."""
        try:
            self._apply(event)
        except InvalidTransition:
            return

    def _invalid(self, error: ProtocolError) -> None:
        self._aborting = Abort(AbortSource.PROVIDER, error.reason)
        self._apply(Event.INVALID_PDU, error)

    def _apply(self, event: Event, argument: object = None) -> None:
        acceptable = True
        if event is Event.ASSOCIATE_RQ and self.state is State.AWAITING_ASSOCIATE_RQ:
            assert isinstance(argument, AssociateRequest)
            self.requested = True
            refused = self._unacceptable(self, argument) if self._unacceptable else None
            if refused is not None:
                acceptable, argument = False, refused
        if event not in _ALWAYS_POSSIBLE and self.state is State.IDLE:
            return  # closed, and the rest of what was read still comes in
        action, self.state = step(self.state, event, requestor=self.requestor, acceptable=acceptable)
        if action is Action.DT_2:
            return  # the fragments follow; looked at first because it is nearly every event
        self._carry_out(action, event, argument)

    def _carry_out(self, action: Action, event: Event, argument: object) -> None:  # noqa: PLR0912, PLR0915  one case an action
        match action:
            case Action.DT_1 | Action.AR_7:
                assert self._transport is not None
                if not self._transport.is_closing():  # closed, and about to be told: uvloop would raise
                    self._transport.writelines(argument)  # type: ignore[arg-type]
            case Action.AR_6 | Action.AE_1:
                pass
            case Action.AA_6:
                self._ignored()
            case Action.AE_2:
                assert self._request is not None
                self._write(pdu.encode_associate_request(self._request))
            case Action.AE_3:
                assert isinstance(argument, AssociateAccept)
                self._inbox.put(argument)
            case Action.AE_4:
                assert isinstance(argument, AssociateReject)
                self._finish(AssociationRejected(argument.result, argument.source, argument.reason))
                self._close()
            case Action.AE_5:
                self._artim.start(self._limits.artim_s)
            case Action.AE_6:
                self._artim.stop()
                if isinstance(argument, AssociateReject):
                    self._send_reject(argument)
                else:
                    assert isinstance(argument, AssociateRequest)
                    assert self._on_request is not None
                    self._on_request(self, argument)
            case Action.AE_7:
                assert isinstance(argument, AssociateAccept)
                self._write(pdu.encode_associate_accept(argument))
            case Action.AE_8:
                assert isinstance(argument, AssociateReject)
                self._send_reject(argument)
            case Action.AR_1:
                self._write(pdu.encode_release_request())
            case Action.AR_2 | Action.AR_8:
                self._inbox.put(ReleaseRequested())
            case Action.AR_3:
                self._inbox.put(ReleaseConfirmed())
                self._finish(AssociationReleased(_RELEASED))
                self._close()
            case Action.AR_4:
                self._write(pdu.encode_release_response())
                self._artim.start(self._limits.artim_s)
                self._finish(AssociationReleased(_RELEASED))
            case Action.AR_9:
                self._write(pdu.encode_release_response())
            case Action.AR_10:
                self._inbox.put(ReleaseConfirmed())
            case Action.AA_1:
                abort = self._aborting if event is Event.ABORT_REQUEST else Abort(AbortSource.USER, 0)
                self._write(pdu.encode_abort(abort))
                self._artim.start(self._limits.artim_s)
                self._finish(_violation(event, argument))
            case Action.AA_7:
                self._ignored()
                if not self._write_deadline.running:  # who reads none gets no more
                    self._write(pdu.encode_abort(self._aborting))
            case Action.AA_2:
                self._artim.stop()
                self._finish(DimseTimeout("nobody asked for an association"))
                self.close()
            case Action.AA_3:
                assert isinstance(argument, Abort)
                self._finish(AssociationAborted(argument.source, argument.reason))
                self._close()
            case Action.AA_4:
                self._finish(ConnectionLost("the connection was lost"))
            case Action.AR_5 | Action.AA_5:
                self._artim.stop()
            case Action.AA_8:
                error = _violation(event, argument)
                self._write(pdu.encode_abort(Abort(AbortSource.PROVIDER, error.reason)))
                self._artim.start(self._limits.artim_s)
                self._finish(error)

    def _send_reject(self, reject: AssociateReject) -> None:
        self._write(pdu.encode_associate_reject(reject))
        self._artim.start(self._limits.artim_s)
        self._finish(AssociationRejected(reject.result, reject.source, reject.reason))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _close(self) -> None:
        """Close after what is still to be sent; at once where the peer does not read it."""
        if self._transport is not None:
            if self._write_deadline.running:
                self._transport.abort()
            else:
                self._linger.start(self._limits.close_s)
                self._transport.close()

    def _finish(self, error: DimseError) -> None:
        """The association has ended; the first reason counts."""
        if self.end is not None:
            return
        self.end = error
        self._watch.stop()
        self._inbox.end()
        self._wake_writers()
        if self._ending is not None:
            self._ending.set_result(None)

    def _wake_writers(self) -> None:
        writers, self._writers = self._writers, None
        if writers is not None and not writers.done():
            writers.set_result(None)

    def _peer_expired(self, words: str) -> None:
        self.abort(DimseTimeout(words))
        self._artim.start(self._limits.close_s)  # it had its time to say something

    def _write_backlog(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def _write_expired(self) -> None:
        unsent, self._unsent = self._unsent, self._write_backlog()
        if self._unsent < unsent:  # slow, but it reads
            self._write_deadline.start(self._limits.write_s)
            return
        self.abort(DimseTimeout(f"the peer has read nothing for {self._limits.write_s:g} s"))
        self.close()


def _violation(event: Event, argument: object) -> ProtocolError:
    if isinstance(argument, ProtocolError):
        return argument
    return ProtocolError(f"unexpected {event.name} PDU", AbortReason.UNEXPECTED_PDU)


_ALWAYS_POSSIBLE = frozenset({Event.ASSOCIATE_REQUEST, Event.TRANSPORT_INDICATED})
