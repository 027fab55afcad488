"""What is counted of queries and retrievals, and of who was turned away."""

from __future__ import annotations

from typing import Final

import structlog

from imex.dimse import Answer, AssociationRequest, Exchange, Refused, Reject, Service, Status
from imex.dimse.command import CommandField
from imex.dimse.service import FailedStage
from imex.observability import names
from imex.observability.metrics import Metrics
from imex.observability.sparing import Sparing

log = structlog.get_logger(__name__)

_OPERATIONS: Final = {
    CommandField.C_FIND_RQ: "c-find",
    CommandField.C_MOVE_RQ: "c-move",
    CommandField.C_GET_RQ: "c-get",
    CommandField.N_ACTION_RQ: "n-action",
    CommandField.N_EVENT_REPORT_RQ: "n-event-report",
}
_TLS: Final[frozenset[FailedStage]] = frozenset({"tls handshake", "proxy header"})
_REJECTIONS: Final = {
    (1, 3): "calling AE title",
    (1, 7): "called AE title",
    (3, 1): "congestion",
    (3, 2): "limit",
}


class Meters:
    """The metrics of the portal's ports for DICOM; what an acceptor says of strangers (AcceptorObserver)."""

    def __init__(self, metrics: Metrics) -> None:
        """`metrics` are the portal's."""
        self._associations = metrics.counter(names.PORTAL_DICOM_ASSOCIATIONS)
        self._operations = metrics.counter(names.PORTAL_DICOM_OPERATIONS)
        self._images = metrics.counter(names.PORTAL_DICOM_IMAGES)
        self._sparing = Sparing()

    def ended(self, kind: str) -> None:
        """An association has ended."""
        self._associations.labels(outcome=kind).inc()

    def rejected(self, request: AssociationRequest, reject: Reject) -> None:
        """An association was rejected (PS3.8 table 9-21)."""
        reason = _REJECTIONS.get((reject.source, reject.reason), "not acceptable")
        self._associations.labels(outcome=f"rejected: {reason}").inc()

    def failed(self, peer_host: str, words: str, stage: FailedStage) -> None:
        """A connection ended before it asked for an association."""
        self._associations.labels(outcome=f"rejected: no {stage}").inc()
        said = log.info if stage in _TLS and self._sparing() else log.debug
        said("connection without an association", peer=peer_host, reason=words)

    def answered(self, operation: str, status: int) -> None:
        """An operation was answered."""
        self._operations.labels(operation=operation, status=f"{status:04X}").inc()

    def image(self, operation: str, outcome: str) -> None:
        """A sub-operation has ended."""
        self._images.labels(operation=operation, outcome=outcome).inc()


class Measured:
    """A service whose answers are counted (imex.dimse.Service)."""

    def __init__(self, service: Service, meters: Meters) -> None:
        """`service` does the work."""
        self._service = service
        self._meters = meters
        self.operations = service.operations
        self.most_bytes = service.most_bytes

    async def perform(self, exchange: Exchange) -> Answer:
        """See imex.dimse.Service."""
        status: int = Status.PROCESSING_FAILURE
        try:
            answer = await self._service.perform(exchange)
            status = answer.status
        except Refused as refused:
            status = refused.status
            raise
        else:
            return answer
        finally:
            self._meters.answered(_OPERATIONS[exchange.operation.field], status)
