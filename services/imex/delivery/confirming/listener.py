"""Takes the reports of storage commitments that destinations bring on associations of their own.

It takes N-EVENT-REPORT and C-ECHO and nothing else, over TLS and without. Whoever reports has to name a
transaction that was asked for, whose UID nobody can guess.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final

from imex.delivery.confirming.commitment import Commitments
from imex.dicom.commitment import PUSH_MODEL, TRANSFER_SYNTAXES, NoRequest, decoded, report_of
from imex.dimse import (
    Accept,
    Acceptor,
    Answer,
    AssociationRequest,
    Edge,
    Ended,
    Exchange,
    Limits,
    Status,
    StoreCommand,
    StoreResponse,
    Terms,
    serve,
)
from imex.dimse.command import CommandField
from imex.dimse.items import ProposedContext
from imex.runtime.health import Health

log = logging.getLogger(__name__)

_MOST_BYTES: Final = 4 << 20
_LIMITS: Final = Limits(
    associations=16, connections=64, dataset_bytes=2 * _MOST_BYTES, receive_memory=8 << 20, idle_s=30.0
)
_WRITE_S: Final = 20.0
_DRAIN_S: Final = 5.0
_INVALID_ARGUMENT: Final = 0x0115


class CommitmentListener:
    """A component: listens while the service runs."""

    name = "storage commitment reports"

    def __init__(
        self,
        commitments: Commitments,
        host: str,
        port: int | None,
        tls_port: int | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """A port of 0 is any free one, None is none; `tls` gives the context of the next handshake."""
        self._reports = Reports(commitments)
        self._host = host
        self._ports = (port, tls_port)
        self._tls = tls
        self._acceptor: Acceptor | None = None

    @property
    def port(self) -> int:
        """The plain one on which it listens; 0 while it does not."""
        return self._acceptor.port if self._acceptor else 0

    @property
    def tls_port(self) -> int:
        """The one with TLS; 0 while it does not listen."""
        return self._acceptor.tls_port if self._acceptor else 0

    async def start(self) -> None:
        """Listen. Raises OSError where a port is taken."""
        port, tls_port = self._ports
        edge = Edge(tls_port=tls_port, tls=self._tls)
        self._acceptor = await serve(self._host, port, self, _LIMITS, edge=edge)

    async def stop(self) -> None:
        """Let what is under way end, then end all associations."""
        if self._acceptor is not None:
            await self._acceptor.drain(_DRAIN_S)
            self._acceptor = None

    def health(self) -> Health:
        """Nothing depends on it: what is not reported is asked for."""
        return Health(live=True, detail="")

    async def admit(self, request: AssociationRequest) -> Accept:
        """Anybody: who reports shows by the transaction that it was asked (imex.dimse.AcceptorPolicy)."""
        return Accept(
            _Handler(),
            terms=Terms(
                storage=False,
                services={PUSH_MODEL: self._reports},
                reporters=frozenset({PUSH_MODEL}),
                transfer_syntax=_readable,
            ),
        )


class Reports:
    """Serves the SCU's side of storage commitment (imex.dimse.Service)."""

    operations = frozenset({CommandField.N_EVENT_REPORT_RQ})
    most_bytes = _MOST_BYTES

    def __init__(self, commitments: Commitments) -> None:
        """Reports go to `commitments`."""
        self._commitments = commitments

    async def perform(self, exchange: Exchange) -> Answer:
        """Write down one report, and only then say so."""
        asked = exchange.operation
        try:
            dataset = await asyncio.to_thread(decoded, asked.data_set, asked.transfer_syntax)
            report = report_of(dataset)
        except (NoRequest, ValueError):
            return Answer(Status.PROCESSING_FAILURE, "the report cannot be read")
        if report is None:
            return Answer(_INVALID_ARGUMENT, "no Transaction UID")
        try:
            async with asyncio.timeout(_WRITE_S):
                known = await self._commitments.take(report)
        except Exception as error:  # noqa: BLE001  the peer is to bring it again
            log.warning("a storage commitment could not be written down: %s", type(error).__name__)
            return Answer(Status.PROCESSING_FAILURE, "it could not be written down: bring it again")
        return Answer() if known else Answer(_INVALID_ARGUMENT, "nobody has asked for this transaction")


class _Handler:
    """Of one association (imex.dimse.AssociationHandler)."""

    async def store(self, command: StoreCommand) -> StoreResponse:
        """Nothing is taken here."""
        return StoreResponse(Status.SOP_CLASS_NOT_SUPPORTED, "reports of storage commitments only")

    async def echo(self) -> int:
        """C-ECHO."""
        return Status.SUCCESS

    async def ended(self, outcome: Ended) -> None:
        """Nothing is kept of it."""


def _readable(context: ProposedContext) -> str | None:
    """The transfer syntax in which a report is read; C-ECHO has no data set."""
    return next((one for one in TRANSFER_SYNTAXES if one in context.transfer_syntaxes), None)
