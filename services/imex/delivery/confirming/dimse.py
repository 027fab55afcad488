"""Asking DICOM nodes: C-FIND at the IMAGE level, and storage commitment, with pynetdicom in threads.

None of it is on the path of images; pynetdicom and pydicom are imported when a node is first asked.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from imex.delivery.associating import NotAssociated, Waits, associated
from imex.delivery.confirming.asking import CannotAsk
from imex.dicom.commitment import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST,
    Reference,
    Report,
    report_of,
    request_dataset,
)
from imex.directory.model import DicomEndpoint, Endpoint
from imex.outbound import Outbound

if TYPE_CHECKING:
    from pynetdicom.association import Association

STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
T = TypeVar("T")

_THREADS: Final = 32
_OF_A_NODE: Final = 2
"""Threads that one node may hold, so that one which is silent keeps no other waiting."""
_PENDING: Final = frozenset({0xFF00, 0xFF01})
_MOST_SERIES: Final = 10_000


@dataclass(frozen=True, slots=True)
class AskLimits:
    """Seconds."""

    connect_s: float = 10.0
    response_s: float = 60.0
    whole_s: float = 600.0
    """All questions of one look together: who never comes to an end holds a delivery for no longer."""


class Nodes:
    """Asks DICOM nodes, a few at a time."""

    def __init__(
        self,
        ae_title: str,
        limits: AskLimits | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        outbound: Outbound | None = None,
    ) -> None:
        """`ae_title` is Imex's own; `tls` gives the context for nodes that want TLS.

        `outbound` says where it may connect to.
        """
        self._outbound = outbound or Outbound()
        self._ae_title = ae_title
        self._limits = limits or AskLimits()
        self._tls = tls
        self._threads = ThreadPoolExecutor(_THREADS, "asking")
        self._turns: dict[tuple[str, int], asyncio.Semaphore] = {}

    async def held(self, endpoint: Endpoint, study_uid: str, wanted: frozenset[str]) -> set[str]:
        """See `imex.delivery.confirming.asking.Asker`."""
        return await self._in_thread(_node(endpoint), self._find_all, study_uid, wanted)

    async def commit(
        self, endpoint: Endpoint, transaction_uid: str, references: Sequence[Reference], wait_s: float
    ) -> Report | None:
        """N-ACTION for some instances; the report, if it comes within `wait_s` seconds.

        Raises:
            CannotAsk: the node does not do it, or not now.
        """
        return await self._in_thread(_node(endpoint), self._commit, transaction_uid, references, wait_s)

    def close(self) -> None:
        """Ask no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, node: DicomEndpoint, ask: Callable[..., T], *what: Any) -> T:
        turn = self._turns.setdefault((node.host, node.port), asyncio.Semaphore(_OF_A_NODE))
        async with turn:
            return await asyncio.get_running_loop().run_in_executor(self._threads, ask, node, *what)

    def _find_all(self, node: DicomEndpoint, study_uid: str, wanted: frozenset[str]) -> set[str]:
        """Series first: the IMAGE level wants the series named (PS3.4 C.4.1.2.1)."""
        association = self._associate(node, (STUDY_ROOT_FIND, PATIENT_ROOT_FIND))
        until = time.monotonic() + self._limits.whole_s
        try:
            model = next(
                (one for one in (STUDY_ROOT_FIND, PATIENT_ROOT_FIND) if _accepts(association, one)), None
            )
            if model is None:
                raise CannotAsk(f"{node.ae_title} takes no C-FIND of studies")
            found: set[str] = set()
            series = self._find(
                association, model, {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": study_uid},
                "SeriesInstanceUID", until,
            )  # fmt: skip
            for uid in series[:_MOST_SERIES]:
                keys = {
                    "QueryRetrieveLevel": "IMAGE",
                    "StudyInstanceUID": study_uid,
                    "SeriesInstanceUID": uid,
                }
                found.update(self._find(association, model, keys, "SOPInstanceUID", until))
                if wanted <= found:
                    break
            return found & wanted
        finally:
            if association.is_established:
                association.release()

    def _find(
        self, association: Association, model: str, keys: dict[str, str], wanted: str, until: float
    ) -> list[str]:
        from pydicom.dataset import Dataset

        query = Dataset()
        for name, value in keys.items():
            setattr(query, name, value)
        setattr(query, wanted, "")
        found = []
        for status, identifier in association.send_c_find(query, model):
            if not status or "Status" not in status:
                raise CannotAsk("the connection was lost before the answer to a C-FIND")
            if time.monotonic() > until:
                association.abort()
                raise CannotAsk(f"its answers to C-FIND do not end within {self._limits.whole_s:g} s")
            if status.Status in _PENDING:
                if identifier is not None and (uid := identifier.get(wanted)):
                    found.append(str(uid))
            elif status.Status != 0x0000:
                raise CannotAsk(f"the C-FIND was answered with {status.Status:04X}")
        return found

    def _commit(
        self, node: DicomEndpoint, transaction_uid: str, references: Sequence[Reference], wait_s: float
    ) -> Report | None:
        came = _Came(transaction_uid)
        association = self._associate(node, (PUSH_MODEL,), *came.handlers)
        try:
            if not _accepts(association, PUSH_MODEL):
                raise CannotAsk(f"{node.ae_title} takes no storage commitment")
            action = request_dataset(transaction_uid, references)
            status, _ = association.send_n_action(action, REQUEST, PUSH_MODEL, PUSH_MODEL_INSTANCE)
            if not status or "Status" not in status:
                raise CannotAsk("the connection was lost before the answer to the N-ACTION")
            if status.Status != 0x0000:
                raise CannotAsk(f"the N-ACTION was answered with {status.Status:04X}")
            came.wait(association, wait_s)
            return came.report
        finally:
            if association.is_established:
                association.release()

    def _associate(self, node: DicomEndpoint, sop_classes: Sequence[str], *handlers: Any) -> Association:
        waits = Waits(self._limits.connect_s, self._limits.response_s)
        try:
            return associated(
                self._ae_title, node, sop_classes, waits, self._tls, *handlers, outbound=self._outbound
            )
        except NotAssociated as error:
            raise CannotAsk(str(error)) from error


class _Came:
    """The report that comes on the association of its N-ACTION, if it does."""

    def __init__(self, transaction_uid: str) -> None:
        from pynetdicom import evt

        self._transaction_uid = transaction_uid
        self._event = threading.Event()
        self.report: Report | None = None
        self.handlers = ((evt.EVT_N_EVENT_REPORT, self._handle), (evt.EVT_DIMSE_SENT, self._sent))

    def wait(self, association: Association, seconds: float) -> None:
        """Until it has come, the peer ends the association, or the time is over."""
        left = seconds
        while left > 0 and association.is_established and not self._event.wait(min(left, 0.1)):
            left -= 0.1

    def _handle(self, event: Any) -> tuple[int, None]:
        report = report_of(event.event_information)
        if report is None or report.transaction_uid != self._transaction_uid:
            return 0x0115, None
        self.report = report
        return 0x0000, None

    def _sent(self, _event: Any) -> None:
        """Whoever releases before the report is answered leaves the peer to bring it again."""
        if self.report is not None:
            self._event.set()


def _accepts(association: Association, sop_class: str) -> bool:
    return any(context.abstract_syntax == sop_class for context in association.accepted_contexts)


def _node(endpoint: Endpoint) -> DicomEndpoint:
    if not isinstance(endpoint, DicomEndpoint):
        raise CannotAsk(f"endpoint {endpoint.name} is no DICOM node")
    return endpoint
