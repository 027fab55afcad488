"""The ports for DICOM queries and retrievals, as a part of the portal."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from imex.dimse import Acceptor, Edge, Limits, serve
from imex.dimse.tls import WatchedContext, client_context, server_context
from imex.outbound import Outbound
from imex.portal.context import Portal
from imex.portal.query_retrieve.meters import Meters
from imex.portal.query_retrieve.peer import Surroundings
from imex.portal.query_retrieve.policy import Offer, PullPolicy, QueryRetrieve
from imex.portal.query_retrieve.settings import DicomSettings
from imex.runtime.health import Health

log = structlog.get_logger(__name__)

_DRAIN_S: Final = 5.0
_DATA_SET_BYTES: Final = 16 << 20
"""Longest data set that is read, even to be thrown away: nobody stores anything here."""
_RECEIVE_MEMORY: Final = 16 << 20


class DicomListener:
    """Listens while the portal runs (imex.portal.parts.Part)."""

    name = "dicom queries"

    def __init__(
        self,
        portal: Portal,
        settings: DicomSettings,
        offers: Sequence[Offer] = (),
        *,
        outbound: Outbound | None = None,
    ) -> None:
        """`offers` are served beside queries and retrievals; `outbound` says where it may connect to.

        Raises TlsFilesInvalid.
        """
        self._settings = settings
        self._tls = _server_tls(settings)
        self._meters = Meters(portal.metrics)
        tls = client_tls(settings)
        around = Surroundings(
            portal, settings.ae_title, self._meters, tls=tls, outbound=outbound or Outbound()
        )
        everything = (QueryRetrieve(around), *offers)
        self._policy = PullPolicy(
            portal, settings.ae_title, everything, settings.institution_associations, self._meters
        )
        self._acceptor: Acceptor | None = None
        self._detail = "starting"

    @property
    def port(self) -> int:
        """The plain port it listens on; 0 where there is none, or not yet."""
        return self._acceptor.port if self._acceptor else 0

    @property
    def tls_port(self) -> int:
        """The TLS port it listens on; 0 where there is none, or not yet."""
        return self._acceptor.tls_port if self._acceptor else 0

    async def start(self) -> None:
        """Listen; where a port cannot be had, the portal goes on without, and is not ready."""
        settings = self._settings
        limits = Limits(
            associations=settings.max_associations,
            handshake_s=settings.handshake_s,
            handshakes_per_address=settings.handshakes_per_address,
            dataset_bytes=_DATA_SET_BYTES,
            receive_memory=_RECEIVE_MEMORY,
        )
        edge = Edge(tls_port=settings.tls_port, tls=self._tls, balancers=settings.proxy_networks)
        try:
            self._acceptor = await serve(
                settings.host, settings.port, self._policy, limits, observer=self._meters, edge=edge
            )
        except OSError as error:
            self._detail = f"cannot listen: {error.strerror or type(error).__name__}"
            log.error("no queries over DICOM: a port cannot be listened on", reason=self._detail)
        else:
            self._detail = ""

    async def stop(self) -> None:
        """Take no more associations, let those that are open finish, then abort the rest."""
        self._detail = "stopping"
        if self._acceptor is not None:
            await self._acceptor.drain(_DRAIN_S)

    def health(self) -> Health:
        """Whether it listens."""
        return Health(ready=not self._detail, detail=self._detail)


def _server_tls(settings: DicomSettings) -> Callable[[], ssl.SSLContext] | None:
    certificate, key, ca = settings.tls_certificate, settings.tls_key, settings.tls_ca
    if settings.tls_port is None or certificate is None or key is None or ca is None:
        return None
    context = WatchedContext(lambda: server_context(certificate, key, ca), certificate, key, ca)
    context()  # what is wrong is told at the start
    return context


def client_tls(settings: DicomSettings) -> Callable[[], ssl.SSLContext] | None:
    """The context for nodes that the portal connects to; None where nobody is said to vouch for them."""
    certificate, key, ca = settings.tls_certificate, settings.tls_key, settings.tls_ca
    if ca is None:
        return None
    return WatchedContext(lambda: client_context(ca, certificate, key), certificate, key, ca)
