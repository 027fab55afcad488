"""Accepts associations (PS3.8 acceptor, PS3.4 SCP of storage, verification and what a policy adds)."""

import asyncio
import contextlib
import inspect
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from imex.dimse.arrival import Gate, Network, Peer, TurnedAway
from imex.dimse.errors import AssociationAborted, ConnectionLost, DimseError, ProtocolError
from imex.dimse.exchanging import Exchanges
from imex.dimse.handshakes import Handshakes
from imex.dimse.items import ContextOutcome
from imex.dimse.limits import KIB, Limits
from imex.dimse.listening import Arrived, Listener
from imex.dimse.memory import ReceiveMemory, SharedMemory
from imex.dimse.negotiation import (
    accept_for,
    answered_roles,
    choose_contexts,
    fragment_bytes,
    operations_window,
    unacceptable,
    wants_returned,
)
from imex.dimse.pdu import AssociateReject, AssociateRequest
from imex.dimse.service import (
    Accept,
    AcceptorObserver,
    AcceptorPolicy,
    AssociationRequest,
    Reject,
    SilentObserver,
)
from imex.dimse.serving import Serving
from imex.dimse.timing import Clock
from imex.dimse.upper_layer import UpperLayer

CLOSE_S = 5.0
_UNASKED_S = 1.0
_LOOK_S = 0.02
_TLS_UNREAD = 32 * KIB
_SOME = 16  # connections that give way at a time where descriptors are short
_STOPPING = "association aborted by this side"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """How an acceptor stands on a network, besides its plain port.

    tls_port, tls: a port (0: any free one) on which TLS comes first, with the context that `tls` returns at
        that moment; it has to ask for the peer's certificate.
    balancers: networks of load balancers, from which a PROXY header of version 2 has to come first.
    shared: several processes listen on the same ports (SO_REUSEPORT).
    memory: what connections receive into; without it the limits say how much.
    """

    tls_port: int | None = None
    tls: Callable[[], ssl.SSLContext] | None = None
    balancers: tuple[Network, ...] = ()
    shared: bool = False
    memory: ReceiveMemory | None = None


async def serve(
    host: str,
    port: int | None,
    policy: AcceptorPolicy,
    limits: Limits | None = None,
    *,
    observer: AcceptorObserver | None = None,
    clock: Clock | None = None,
    edge: Edge | None = None,
) -> "Acceptor":
    """Listen on `host` and `port` (0: any free one, None: no plain port) until `drain` or `close`.

    Raises OSError.
    """
    loop = asyncio.get_running_loop()
    acceptor = Acceptor(
        policy, limits or Limits(), observer or SilentObserver(), clock or loop, edge or Edge()
    )
    await acceptor.listen(host, port)
    return acceptor


class Acceptor:
    """A listening acceptor; `serve` makes it."""

    def __init__(
        self,
        policy: AcceptorPolicy,
        limits: Limits,
        observer: AcceptorObserver,
        clock: Clock,
        edge: Edge,
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._observer = observer
        self._clock = clock
        self._edge = edge
        self._memory = edge.memory or SharedMemory(limits.receive_memory, limits.receive_window)
        handshakes = Handshakes(limits.handshakes_per_address, limits.handshake_stalled_s)
        self._gate = Gate(edge.balancers, handshakes, limits.handshake_s)
        self._plain = Listener(self._arrived(None), self._make_some_room)
        self._secure = Listener(self._arrived(edge.tls), self._make_some_room)
        self._arriving: dict[asyncio.Task[None], None] = {}  # in the order in which they came
        self._layers: dict[UpperLayer, None] = {}  # likewise
        self._associations: dict[UpperLayer, asyncio.Task[None]] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False

    async def listen(self, host: str, port: int | None) -> None:
        """Begin to take connections. Raises OSError."""
        shared = self._edge.shared
        if port is not None:
            await self._plain.listen(host, port, shared=shared)
        if self._edge.tls_port is not None and self._edge.tls is not None:
            await self._secure.listen(host, self._edge.tls_port, shared=shared)

    @property
    def port(self) -> int:
        """The plain port it listens on; 0 where there is none."""
        return self._plain.port

    @property
    def tls_port(self) -> int:
        """The TLS port it listens on; 0 where there is none."""
        return self._secure.port

    @property
    def associations(self) -> int:
        """Associations at this moment."""
        return len(self._associations)

    @property
    def connections(self) -> int:
        """Connections at this moment, with an association or without."""
        return len(self._layers) + len(self._arriving)

    async def drain(self, deadline_s: float) -> None:
        """Stop accepting, let associations finish for `deadline_s` seconds, then abort the rest.

        Who has just connected is told to come again (A-ASSOCIATE-RJ, temporary congestion).
        """
        self._draining = True
        self._stop_listening()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._answer_newcomers(min(_UNASKED_S, deadline_s))
        if self._associations:
            left = max(0.0, began + deadline_s - loop.time())
            await asyncio.wait(self._associations.values(), timeout=left)
        await self.close()

    async def _answer_newcomers(self, seconds: float) -> None:
        """Give connections without an association the time to ask for one and hear that this side stops."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self._arriving or any(not layer.requested for layer in self._layers):
            if loop.time() >= until:
                break
            await asyncio.sleep(_LOOK_S)
        for arriving in list(self._arriving):
            arriving.cancel()
        for layer in self._layers.keys() - self._associations.keys():
            layer.finish_closing()

    async def close(self) -> None:
        """Stop accepting and abort every association; returns when their handlers have heard of it."""
        self._draining = True
        self._stop_listening()
        arriving = list(self._arriving)
        for each in arriving:
            each.cancel()
        await asyncio.gather(*arriving, return_exceptions=True)
        tasks = list(self._associations.values())
        for layer in list(self._layers):
            layer.abort(AssociationAborted(0, 0, _STOPPING))
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for layer in list(self._layers):
            layer.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._empty.wait()

    def _stop_listening(self) -> None:
        self._plain.stop()
        self._secure.stop()

    def _arrived(self, tls: Callable[[], ssl.SSLContext] | None) -> Arrived:
        """What a port's listener calls."""

        def arrived(connection: socket.socket, peer: Peer) -> None:
            if self.connections >= self._limits.connections and not self._make_room():
                connection.close()
                self._observer.failed(peer[0], "too many connections", "room")
                return
            passing = self._gate.pass_through(connection, peer, tls and tls(), self._protocol)
            task = asyncio.get_running_loop().create_task(self._arrive(passing))
            self._arriving[task] = None

            def done(_: asyncio.Task[None]) -> None:
                self._arriving.pop(task, None)
                if inspect.getcoroutinestate(passing) == inspect.CORO_CREATED:  # ended before it began
                    passing.close()
                    connection.close()

            task.add_done_callback(done)

        return arrived

    def _make_room(self) -> bool:
        """End the oldest connection without an association under way; False where all have one.

        One that was rejected or has ended and is not closed by its peer is no better than a silent one.
        """
        for arriving in self._arriving:
            if not arriving.cancelling():
                return arriving.cancel()
        for layer in self._layers:
            if layer.idle and not layer.closing:
                _give_way(layer)
                return True
        return False

    def _make_some_room(self) -> None:
        for _ in range(_SOME):
            if not self._make_room():
                return

    async def _arrive(self, passing: Coroutine[None, None, None]) -> None:
        try:
            await passing
        except TurnedAway as turned:
            self._observer.failed(turned.peer[0], str(turned), turned.stage)
        except Exception:
            log.exception("a connection could not be taken")

    def _protocol(self, peer: Peer) -> "_Accepted":
        """The protocol of the next connection."""
        return _Accepted(self, peer, self._limits, self._clock, self._memory)

    def connected(self, layer: UpperLayer) -> None:
        """A connection stands; `closed` follows."""
        self._layers[layer] = None
        self._empty.clear()
        if layer.secure:
            self._bound_tls()

    def _bound_tls(self) -> None:
        """Of connections with TLS, which take memory, no more may be idle than may become associations."""
        idle = [one for one in self._layers if one.secure and one.idle and not one.closing]
        for layer in idle[: max(0, len(idle) - self._limits.associations)]:
            _give_way(layer)

    def knows(self, layer: UpperLayer) -> bool:
        """Whether a connection stands."""
        return layer in self._layers

    def closed(self, layer: UpperLayer) -> None:
        """A connection is gone."""
        self._layers.pop(layer, None)
        if not self._layers:
            self._empty.set()
        if not layer.requested:
            self._observer.failed(layer.peer[0], str(layer.end), "request")

    def turned_down(self, layer: UpperLayer, request: AssociateRequest) -> AssociateReject | None:
        """What is rejected without asking the policy."""
        reject = unacceptable(request)
        if reject is None:
            if self._draining:
                limit = Reject.temporary_congestion("stopping")
            elif len(self._associations) >= self._limits.associations:
                limit = Reject.local_limit_exceeded("too many associations")
            else:
                return None
            reject = AssociateReject(limit.result, limit.source, limit.reason)
        self._observer.rejected(
            _request(layer, request), Reject(reject.result, reject.source, reject.reason, "not acceptable")
        )
        return reject

    def requested(self, layer: UpperLayer, request: AssociateRequest) -> None:
        """An association is asked for that the provider can accept."""
        task = asyncio.get_running_loop().create_task(self._associate(layer, request))
        self._associations[layer] = task
        task.add_done_callback(lambda done: self._finished(layer, done))

    def _finished(self, layer: UpperLayer, task: asyncio.Task[None]) -> None:
        self._associations.pop(layer, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("an association failed", exc_info=task.exception())
        layer.abort(AssociationAborted(0, 0, _STOPPING))
        layer.forget_received()

    async def _associate(self, layer: UpperLayer, request: AssociateRequest) -> None:
        described = _request(layer, request)
        decision = await self._admit(described)
        if isinstance(decision, Reject):
            self._observer.rejected(described, decision)
            if layer.end is None:
                layer.reject(AssociateReject(decision.result, decision.source, decision.reason))
            return
        terms = decision.terms
        returned = wants_returned(request, terms)
        results = choose_contexts(request.contexts, terms, returned)
        proposed = {context.id: context for context in request.contexts}
        contexts = {
            result.id: (proposed[result.id], result.transfer_syntax)
            for result in results
            if result.outcome == ContextOutcome.ACCEPTED
        }
        fragments = 0
        try:
            fragments = fragment_bytes(request.user_information.max_length, self._limits)
            roles = answered_roles(request, terms, returned)
            response = decision.user_identity_response
            layer.accept(accept_for(request, results, self._limits, response, roles))
        except ProtocolError as error:
            layer.violated(error)
        except DimseError as error:
            log.debug("association ended before it began: %s", error)
        window = operations_window(request, self._limits)
        exchanges = None
        if terms.services:
            exchanges = Exchanges(layer, terms, contexts, fragments, self._limits, returned)
        await Serving(
            layer, decision.handler, contexts, fragments, self._limits, window[0] if window else 1, exchanges
        ).run()

    async def _admit(self, request: AssociationRequest) -> Accept | Reject:
        try:
            async with asyncio.timeout(self._limits.admit_s):
                return await self._policy.admit(request)
        except Exception:
            log.exception("the policy failed to decide on an association")
            return Reject.temporary_congestion("the policy failed to decide")


class _Accepted(UpperLayer):
    """A layer that its acceptor knows while the connection stands; `peer` may be a load balancer's word."""

    def __init__(
        self, acceptor: Acceptor, peer: Peer, limits: Limits, clock: Clock, memory: ReceiveMemory
    ) -> None:
        super().__init__(
            limits=limits,
            clock=clock,
            on_request=acceptor.requested,
            unacceptable=acceptor.turned_down,
            on_closed=acceptor.closed,
            memory=memory,
        )
        self._acceptor = acceptor
        self._peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        super().connection_made(transport)
        bound = getattr(transport, "set_read_buffer_limits", None)
        if bound is not None:  # TLS: what was received and is not decrypted yet waits beside the window
            bound(high=_TLS_UNREAD)
        self.peer = self._peer
        self._acceptor.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol; may be told twice, and of a connection that never stood."""
        if self._acceptor.knows(self):
            super().connection_lost(exc)


def _give_way(layer: UpperLayer) -> None:
    layer.abort(ConnectionLost("closed: too many connections"))
    layer.close()


def _request(layer: UpperLayer, request: AssociateRequest) -> AssociationRequest:
    information = request.user_information
    return AssociationRequest(
        request.calling_ae,
        request.called_ae,
        *layer.peer,
        request.contexts,
        information.user_identity,
        information.implementation_uid,
        information.implementation_version,
        layer.peer_certificate(),
    )
