"""DICOM upper layer and DIMSE, acceptor and requestor, on asyncio (PS3.7, PS3.8).

C-STORE and C-ECHO, and as an acceptor what a policy's services add (`imex.dimse.operations`).
"""

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
from imex.dimse.items import RoleSelection
from imex.dimse.limits import Limits
from imex.dimse.operations import Answer, Exchange, Operation, Service, SubOperations, Terms
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
    "Answer",
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
    "Exchange",
    "Limits",
    "Operation",
    "ProtocolError",
    "Refused",
    "Reject",
    "RoleSelection",
    "Service",
    "Status",
    "StoreCommand",
    "StoreResponse",
    "StoreSink",
    "SubOperations",
    "Terms",
    "connect",
    "open_association",
    "serve",
]
