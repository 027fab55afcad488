"""Accepts associations (PS3.8 acceptor, PS3.4 storage and verification SCP)."""

import asyncio
import contextlib
import logging

from imex.dimse.errors import AssociationAborted, DimseError, ProtocolError
from imex.dimse.items import ContextOutcome
from imex.dimse.limits import Limits
from imex.dimse.negotiation import accept_for, choose_contexts, fragment_bytes, unacceptable
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
from imex.dimse.sop_classes import is_supported
from imex.dimse.timing import Clock
from imex.dimse.upper_layer import UpperLayer

log = logging.getLogger(__name__)

BACKLOG = 512
CLOSE_S = 5.0
_STOPPING = "association aborted by this side"


async def serve(
    host: str,
    port: int,
    policy: AcceptorPolicy,
    limits: Limits | None = None,
    *,
    observer: AcceptorObserver | None = None,
    clock: Clock | None = None,
) -> "Acceptor":
    """Listen on `host` and `port` (0: any free one) and serve until `drain` or `close`. Raises OSError."""
    loop = asyncio.get_running_loop()
    acceptor = Acceptor(policy, limits or Limits(), observer or SilentObserver(), clock or loop)
    server = await loop.create_server(acceptor.protocol, host, port, backlog=BACKLOG)
    acceptor.listening(server)
    return acceptor


class Acceptor:
    """A listening acceptor; `serve` makes it."""

    def __init__(
        self, policy: AcceptorPolicy, limits: Limits, observer: AcceptorObserver, clock: Clock
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._observer = observer
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._layers: set[UpperLayer] = set()
        self._associations: dict[UpperLayer, asyncio.Task[None]] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False
        self._port = 0

    def listening(self, server: asyncio.Server) -> None:
        """Take the server whose connections `protocol` serves."""
        self._server = server
        self._port = server.sockets[0].getsockname()[1]

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def associations(self) -> int:
        """Associations at this moment."""
        return len(self._associations)

    @property
    def connections(self) -> int:
        """Connections at this moment, with an association or without."""
        return len(self._layers)

    async def drain(self, deadline_s: float) -> None:
        """Stop accepting, let associations finish for `deadline_s` seconds, then abort the rest."""
        self._draining = True
        self._stop_listening()
        for layer in self._layers - self._associations.keys():
            layer.close()
        if self._associations:
            await asyncio.wait(self._associations.values(), timeout=deadline_s)
        await self.close()

    async def close(self) -> None:
        """Stop accepting and abort every association; returns when their handlers have heard of it."""
        self._draining = True
        self._stop_listening()
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
        if self._server is not None:
            self._server.close()

    def protocol(self) -> UpperLayer:
        """The protocol of the next connection."""
        layer = UpperLayer(
            crowded=len(self._layers) >= self._limits.connections,
            limits=self._limits,
            clock=self._clock,
            on_request=self._requested,
            unacceptable=self._turned_down,
            on_closed=self._closed,
        )
        self._layers.add(layer)
        self._empty.clear()
        return layer

    def _closed(self, layer: UpperLayer) -> None:
        self._layers.discard(layer)
        if not self._layers:
            self._empty.set()
        if not layer.requested:
            self._observer.failed(layer.peer[0], str(layer.end))

    def _turned_down(self, layer: UpperLayer, request: AssociateRequest) -> AssociateReject | None:
        """What this acceptor rejects without asking its policy."""
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

    def _requested(self, layer: UpperLayer, request: AssociateRequest) -> None:
        task = asyncio.get_running_loop().create_task(self._associate(layer, request))
        self._associations[layer] = task
        task.add_done_callback(lambda done: self._finished(layer, done))

    def _finished(self, layer: UpperLayer, task: asyncio.Task[None]) -> None:
        self._associations.pop(layer, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("an association failed", exc_info=task.exception())
        layer.abort(AssociationAborted(0, 0, _STOPPING))

    async def _associate(self, layer: UpperLayer, request: AssociateRequest) -> None:
        described = _request(layer, request)
        decision = await self._admit(described)
        if isinstance(decision, Reject):
            self._observer.rejected(described, decision)
            if layer.end is None:
                layer.reject(AssociateReject(decision.result, decision.source, decision.reason))
            return
        results = choose_contexts(request.contexts, is_supported)
        proposed = {context.id: context for context in request.contexts}
        contexts = {
            result.id: (proposed[result.id], result.transfer_syntax)
            for result in results
            if result.outcome == ContextOutcome.ACCEPTED
        }
        fragments = 0
        try:
            fragments = fragment_bytes(request.user_information.max_length, self._limits)
            layer.accept(accept_for(request, results, self._limits, decision.user_identity_response))
        except ProtocolError as error:
            layer.violated(error)
        except DimseError as error:
            log.debug("association ended before it began: %s", error)
        await Serving(layer, decision.handler, contexts, fragments, self._limits).run()

    async def _admit(self, request: AssociationRequest) -> Accept | Reject:
        try:
            async with asyncio.timeout(self._limits.admit_s):
                return await self._policy.admit(request)
        except Exception:
            log.exception("the policy failed to decide on an association")
            return Reject.temporary_congestion("the policy failed to decide")


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
