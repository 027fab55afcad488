"""An archive that Imex may ask for studies: C-FIND for one that nobody has, and whether it takes C-MOVE."""

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from imex.delivery.associating import NotAssociated, Waits, associated
from imex.delivery.endpoint_tests.steps import Finding, failed, ok
from imex.delivery.retrieving.dimse import STUDY_ROOT_FIND, STUDY_ROOT_MOVE
from imex.directory.model import DicomEndpoint
from imex.outbound import Outbound

if TYPE_CHECKING:
    from pynetdicom.association import Association

_WAITS: Final = Waits(connect_s=10.0, response_s=10.0)
_PENDING: Final = frozenset({0xFF00, 0xFF01})


async def queried(
    node: DicomEndpoint, calling_ae: str, tls: Callable[[], ssl.SSLContext] | None, outbound: Outbound
) -> Finding:
    """Whether it can answer requests; nothing is fetched."""
    return await asyncio.to_thread(_query, node, calling_ae, tls, outbound)


def _query(
    node: DicomEndpoint, calling_ae: str, tls: Callable[[], ssl.SSLContext] | None, outbound: Outbound
) -> Finding:
    advice = f"Switch C-FIND and C-MOVE of the Study Root model on for {calling_ae}."
    try:
        association = associated(
            calling_ae, node, (STUDY_ROOT_FIND, STUDY_ROOT_MOVE), _WAITS, tls, outbound=outbound
        )
    except NotAssociated as error:
        return failed(f"C-FIND and C-MOVE: {error}", advice, ends=False)
    try:
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        services = (("C-FIND", STUDY_ROOT_FIND), ("C-MOVE", STUDY_ROOT_MOVE))
        if missing := [name for name, uid in services if uid not in accepted]:
            told = f"query: true is set, and {node.ae_title} takes no {' and no '.join(missing)} of studies"
            return failed(told, advice, ends=False)
        trouble = _asked_in_vain(association)
    except (RuntimeError, ValueError) as error:
        trouble = f"the C-FIND failed ({type(error).__name__})"
    finally:
        if association.is_established:
            association.release()
    if trouble:
        return failed(trouble, "Look at the node's log for this association.", ends=False)
    return ok("C-FIND is answered, C-MOVE accepted; that it knows Imex as a destination shows in a request")


def _asked_in_vain(association: "Association") -> str:
    """What is wrong with its answer to a C-FIND for a study that nobody has; empty where nothing is."""
    from pydicom.dataset import Dataset

    nobodys = Dataset()
    nobodys.QueryRetrieveLevel, nobodys.StudyInstanceUID = "STUDY", f"2.25.{uuid4().int}"
    for status, _ in association.send_c_find(nobodys, STUDY_ROOT_FIND):
        code = getattr(status, "Status", None)
        if code is None:
            return "the node did not answer a C-FIND"
        if code in _PENDING:
            return "a C-FIND for a study that nobody has is answered with studies"
        if code:
            return f"a C-FIND is answered with {code:04X}"
    return ""
