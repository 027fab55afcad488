"""The acceptor's policy and the handler of each association: gather facts, decide, act."""

from collections.abc import Callable

import structlog

from imex.dimse import (
    Accept,
    AssociationRequest,
    Ended,
    Reject,
    StoreCommand,
    StoreResponse,
    StoreSink,
)
from imex.dimse.sop_classes import VERIFICATION
from imex.directory.certificates import CertificateFacts, CertificateUnreadable, facts_of
from imex.events.audit import Actor, AuditRecorded, AuditRecordedData
from imex.events.ids import caused_id
from imex.ingest.association import Carried, Peer
from imex.ingest.decide import Admitted, Turned, admit, refusal
from imex.ingest.limits.limiter import Overfull
from imex.ingest.meters import LimitName
from imex.ingest.ports import Surroundings
from imex.ingest.received import AE_CHARS, Origin, clean
from imex.ingest.sink import OUT_OF_RESOURCES, InstanceSink, RefusingSink

log = structlog.get_logger(__name__)

CERTIFICATE_CHARS = 256


class IngestPolicy:
    """Lets known senders in (imex.dimse.AcceptorPolicy)."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def admit(self, request: AssociationRequest) -> Accept | Reject:
        """Decide from the directory as it is now; without one nobody comes in yet."""
        around = self._around
        index = around.directory()
        if index is None:
            return Reject.temporary_congestion("no directory yet")
        certificate = None
        if request.peer_certificate is not None:
            try:
                certificate = facts_of(request.peer_certificate)
            except CertificateUnreadable as error:
                return self._turned(request, Turned("calling", str(error)), certificate)
        decision = admit(
            index,
            around.own_ae_title,
            request.calling_ae,
            request.called_ae,
            request.peer_host,
            certificate,
        )
        if isinstance(decision, Turned):
            return self._turned(request, decision, certificate)
        source = decision.source
        crowded = None if _only_verifies(request) else around.traffic.crowded(source)
        if crowded is not None:
            return self._limited(source, *crowded)
        try:
            leave = await around.doors.enter(source)
        except Overfull as full:
            return self._limited(source, "associations", full.scope)
        if certificate is not None:
            around.certificate_shown(source, certificate)
        return Accept(self._handler(request, decision, certificate, leave))

    def _limited(self, source: str, limit: LimitName, scope: str) -> Reject:
        """Transient in any case: the sender may come again. An institution's own limit has its own reason."""
        self._around.limit_meters.refused(limit, scope, source)
        words = f"{source}: limit of {limit} ({scope})"
        if limit == "associations" and scope == "institution":
            return Reject.local_limit_exceeded(words)
        return Reject.temporary_congestion(words)

    def _handler(
        self,
        request: AssociationRequest,
        admitted: Admitted,
        certificate: CertificateFacts | None,
        leave: Callable[[], None],
    ) -> "IngestAssociation":
        origin = Origin(
            association=self._around.new_id(),
            source=admitted.source,
            called=admitted.called,
            calling_ae=clean(request.calling_ae, AE_CHARS),
            called_ae=clean(request.called_ae, AE_CHARS),
        )
        peer = Peer(request.peer_host, _shown(certificate))
        return IngestAssociation(self._around, origin, peer, leave)

    def _turned(
        self, request: AssociationRequest, turned: Turned, certificate: CertificateFacts | None
    ) -> Reject:
        log.info(
            "association rejected",
            calling_ae=request.calling_ae,
            called_ae=request.called_ae,
            peer=request.peer_host,
            reason=turned.words,
        )
        attempt = self._around.new_id()
        calling_ae, called_ae = (clean(ae, AE_CHARS) for ae in (request.calling_ae, request.called_ae))
        self._around.background.offer(
            AuditRecorded.of(
                id=caused_id(attempt, AuditRecorded.type_name(), "association_rejected"),
                subject=f"association/{attempt}",
                time=self._around.now(),
                data=AuditRecordedData(
                    action="association_rejected",
                    outcome="refused",
                    actor=Actor(kind="unknown", id=calling_ae),
                    reason=clean(turned.words),
                    details={"calling_ae": calling_ae, "called_ae": called_ae, **_shown(certificate)},
                    personal={"address": request.peer_host},
                ),
            )
        )
        if turned.at_fault == "calling":
            return Reject.calling_ae_not_recognised(turned.words)
        return Reject.called_ae_not_recognised(turned.words)


def _shown(certificate: CertificateFacts | None) -> dict[str, str]:
    """What an audit record says of a certificate; nothing on the plain port."""
    if certificate is None:
        return {}
    names = ", ".join(sorted(certificate.common_names | certificate.uris | certificate.dns_names))
    return {
        "certificate": f"sha256:{certificate.fingerprint}",
        "certificate_names": clean(names, CERTIFICATE_CHARS),
    }


def _only_verifies(request: AssociationRequest) -> bool:
    """Whether nothing but C-ECHO can come: it takes no part in what is crowded."""
    return {context.abstract_syntax for context in request.contexts} == {VERIFICATION}


class IngestAssociation:
    """Serves one association of a known sender (imex.dimse.AssociationHandler)."""

    def __init__(self, around: Surroundings, origin: Origin, peer: Peer, leave: Callable[[], None]) -> None:
        """`leave` is called at its end."""
        self._leave = leave
        self._around = around
        self._origin = origin
        self._carried = Carried(around, origin, peer, around.now())
        self._log = log.bind(
            association=str(origin.association), source=origin.source, calling_ae=origin.calling_ae
        )
        around.meters.opened()
        self._log.info("association accepted", called_ae=origin.called_ae)

    async def store(self, command: StoreCommand) -> StoreSink | StoreResponse:
        """Begin a C-STORE, judged by the directory as it is now."""
        around = self._around
        index = around.directory()
        if index is None:
            around.meters.answered(OUT_OF_RESOURCES, None, 0.0)
            return StoreResponse(OUT_OF_RESOURCES, "out of resources: no directory")
        words = refusal(index, self._origin.source, self._origin.called, around.now())
        if words is not None:
            self._log.info("instance refused", reason=words)
            return RefusingSink(around, self._origin, command, self._carried, words)
        return InstanceSink(around, self._origin, command, index, self._carried)

    async def echo(self) -> int:
        """Always well: C-ECHO asks for the connection, not for the store."""
        return 0x0000

    async def ended(self, outcome: Ended) -> None:
        """Say of every study that this association brings no more of it."""
        self._leave()
        self._around.meters.ended(outcome.kind)
        self._carried.end(outcome)
        self._log.info(
            "association ended",
            outcome=outcome.kind,
            reason=outcome.reason,
            stored=outcome.stored,
            failed=outcome.failed,
            bytes=outcome.bytes,
        )
