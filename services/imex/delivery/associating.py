"""Associations of pynetdicom for what is not the path of images: made in threads, with bounded waits."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from imex.dimse import AssociationRejected
from imex.dimse.tls import TlsFilesInvalid
from imex.outbound import AddressDenied, Outbound
from imex.outbound.bounded import Bounded

if TYPE_CHECKING:
    from pynetdicom.association import Association

    from imex.directory.model import DicomEndpoint

_PERMANENTLY: Final = 1
_MOST_ADDRESSES: Final = 4
"""Of one name, each of which may take the whole wait for a connection."""
_MOST_BYTES: Final = 64 << 20
"""That a peer may send on one association: queries and reports, no images."""


class NotAssociated(Exception):
    """There is no association, in words; `lasting` where trying again changes nothing."""

    def __init__(self, words: str, *, lasting: bool = False) -> None:
        super().__init__(words)
        self.lasting = lasting


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds: for a connection and an association, and between two messages of the peer."""

    connect_s: float = 10.0
    response_s: float = 60.0


def associated(
    ae_title: str,
    node: DicomEndpoint,
    sop_classes: Sequence[str],
    waits: Waits,
    tls: Callable[[], ssl.SSLContext] | None,
    *handlers: Any,
    outbound: Outbound,
) -> Association:
    """An association with a node, at the first of its addresses that answers and `outbound` allows. Blocks.

    Raises:
        NotAssociated: there is none.
    """
    from pynetdicom import AE, evt

    entity = AE(ae_title=ae_title)
    entity.acse_timeout = entity.connection_timeout = waits.connect_s
    entity.dimse_timeout = entity.network_timeout = waits.response_s
    for one in sop_classes:
        entity.add_requested_context(one)
    try:
        addresses = outbound.addresses_now(node.host, node.port)[:_MOST_ADDRESSES]
    except AddressDenied as error:
        raise NotAssociated(f"{node.host}: {error.strerror}", lasting=True) from error
    except OSError as error:
        raise NotAssociated(f"the name {node.host} is not known") from error
    secured = _tls_for(node, tls)
    for address in addresses:
        association = entity.associate(
            address,
            node.port,
            ae_title=node.ae_title,
            evt_handlers=[*handlers, (evt.EVT_CONN_OPEN, Bounded(_MOST_BYTES))],
            tls_args=secured,
        )
        if association.is_established:
            return association
        if association.acceptor.primitive is not None:
            break  # the node has answered there
    if association.rejected_contexts and not association.accepted_contexts:
        # pynetdicom ends an association by itself on which nothing can be done
        raise NotAssociated(f"{node.ae_title} takes none of what it is asked for", lasting=True)
    if not association.is_rejected:
        raise NotAssociated(f"an association with {node.ae_title} was not to be had")
    told: Any = association.acceptor.primitive
    result, source, reason = (
        int(getattr(told, name, 0) or 0) for name in ("result", "result_source", "diagnostic")
    )
    words = str(AssociationRejected(result, source, reason))
    raise NotAssociated(f"{node.ae_title}: {words}", lasting=result == _PERMANENTLY)


def _tls_for(
    node: DicomEndpoint, tls: Callable[[], ssl.SSLContext] | None
) -> tuple[ssl.SSLContext, str] | None:
    if not node.tls:
        return None
    if tls is None:
        raise NotAssociated(
            f"{node.ae_title} asks for TLS, and IMEX_DELIVERY_TLS_CA is not set", lasting=True
        )
    try:
        return tls(), node.host
    except TlsFilesInvalid as error:
        raise NotAssociated(f"TLS cannot be used: {error}", lasting=True) from error
