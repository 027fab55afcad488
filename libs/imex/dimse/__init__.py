"""DICOM upper layer and DIMSE for C-STORE and C-ECHO, acceptor and requestor, on asyncio (PS3.7, PS3.8)."""

from imex.dimse.acceptor import Acceptor, Edge, serve
from imex.dimse.errors import (
    AssociationAborted,
    AssociationRejected,
    AssociationReleased,
    ConnectionFailed,
    ConnectionLost,
    ContextNotAccepted,
    DimseError,
    DimseTimeout,
    ProtocolError,
    Refused,
)
from imex.dimse.limits import Limits
from imex.dimse.requestor import Association, connect, open_association
from imex.dimse.service import (
    Accept,
    AcceptorObserver,
    AcceptorPolicy,
    AssociationHandler,
    AssociationRequest,
    Ended,
    Reject,
    StoreCommand,
    StoreResponse,
    StoreSink,
)
from imex.dimse.statuses import Status

__all__ = [
    "Accept",
    "Acceptor",
    "AcceptorObserver",
    "AcceptorPolicy",
    "Association",
    "AssociationAborted",
    "AssociationHandler",
    "AssociationRejected",
    "AssociationReleased",
    "AssociationRequest",
    "ConnectionFailed",
    "ConnectionLost",
    "ContextNotAccepted",
    "DimseError",
    "DimseTimeout",
    "Edge",
    "Ended",
    "Limits",
    "ProtocolError",
    "Refused",
    "Reject",
    "Status",
    "StoreCommand",
    "StoreResponse",
    "StoreSink",
    "connect",
    "open_association",
    "serve",
]
