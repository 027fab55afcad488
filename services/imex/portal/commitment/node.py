"""Tells senders' nodes, on associations that Imex opens, in the role of the SCP (PS3.4 J.3.3, PS3.7 D.3.3.4).

With pynetdicom in threads, a few at a time: nothing of it is on the path of images.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from imex.dicom import commitment
from imex.dimse.statuses import is_stored, words
from imex.dimse.tls import TlsFilesInvalid
from imex.directory.model import DicomEndpoint
from imex.outbound import Outbound
from imex.outbound.bounded import Bounded
from imex.portal.commitment.answering import Answer, NotTold

_THREADS: Final = 4
_CONNECT_S: Final = 10.0
_RESPONSE_S: Final = 30.0
_MOST_BYTES: Final = 1 << 20
"""That a sender may send on one association: an answer of a few lines."""


class SendersNodes:
    """N-EVENT-REPORT to senders (imex.portal.commitment.answering.Node)."""

    def __init__(
        self, tls: Callable[[], ssl.SSLContext] | None = None, outbound: Outbound | None = None
    ) -> None:
        """`tls` gives the context for nodes that want TLS; `outbound` says where it may connect to."""
        self._tls = tls
        self._outbound = outbound or Outbound()
        self._threads = ThreadPoolExecutor(_THREADS, "reporting")

    async def tell(self, node: DicomEndpoint, calling_ae: str, answer: Answer) -> None:
        """See `imex.portal.commitment.answering.Node`."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._tell, node, calling_ae, answer)

    def close(self) -> None:
        """Tell nobody any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _tell(self, node: DicomEndpoint, calling_ae: str, answer: Answer) -> None:
        from pynetdicom import AE, build_role, evt

        secured = self._secured(node)
        entity = AE(ae_title=calling_ae)
        entity.acse_timeout = entity.connection_timeout = _CONNECT_S
        entity.dimse_timeout = entity.network_timeout = _RESPONSE_S
        entity.add_requested_context(commitment.PUSH_MODEL, list(commitment.TRANSFER_SYNTAXES))
        try:
            address = self._outbound.addresses_now(node.host, node.port)[0]
        except OSError as error:
            raise NotTold(f"{node.host}: {error.strerror or 'its name is not known'}") from error
        association = entity.associate(
            address,
            node.port,
            ae_title=node.ae_title,
            ext_neg=[build_role(commitment.PUSH_MODEL, scu_role=False, scp_role=True)],
            evt_handlers=[(evt.EVT_CONN_OPEN, Bounded(_MOST_BYTES))],
            tls_args=secured,
        )
        if not association.is_established:
            why = "rejected" if association.is_rejected else "not to be had"
            raise NotTold(f"an association with {node.ae_title} at {node.host}:{node.port} was {why}")
        try:
            if not association.accepted_contexts:
                raise NotTold(f"{node.ae_title} takes no reports of storage commitments")
            status, _ = association.send_n_event_report(
                commitment.report_dataset(answer.transaction_uid, answer.committed, answer.failed),
                commitment.SOME_FAILED if answer.failed else commitment.ALL_COMMITTED,
                commitment.PUSH_MODEL,
                commitment.PUSH_MODEL_INSTANCE,
            )
            if not status or "Status" not in status:
                raise NotTold(f"the connection with {node.ae_title} was lost before it answered the report")
            if not is_stored(status.Status):
                raise NotTold(f"{node.ae_title} answered the report with {words(status.Status)}")
        finally:
            if association.is_established:
                association.release()

    def _secured(self, node: DicomEndpoint) -> tuple[ssl.SSLContext, str] | None:
        if not node.tls:
            return None
        if self._tls is None:
            raise NotTold(f"{node.ae_title} asks for TLS, and IMEX_PORTAL_DICOM_TLS_CA is not set")
        try:
            return self._tls(), node.host
        except TlsFilesInvalid as error:
            raise NotTold(f"TLS cannot be used: {error}") from error
