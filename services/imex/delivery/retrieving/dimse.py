"""Archives that are DICOM nodes: C-FIND at the STUDY level, and C-MOVE to Imex (PS3.4 C.4), with pynetdicom.

What is moved comes in through ingest like everything that the archive sends.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from imex.delivery.associating import NotAssociated, Waits, associated
from imex.delivery.retrieving.archive import MOST_ANSWERS, Away, Fetched, Meant, NotDone
from imex.delivery.retrieving.matching import Answer, Within
from imex.directory.model import DicomEndpoint, Endpoint
from imex.events import Priority
from imex.outbound import Outbound

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pynetdicom.association import Association

STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
_SERVICES: Final = {STUDY_ROOT_FIND: "C-FIND", STUDY_ROOT_MOVE: "C-MOVE"}
T = TypeVar("T")

_PENDING: Final = frozenset({0xFF00, 0xFF01})
_MEDIUM, _HIGH = 0, 1
_FULL: Final = frozenset({0xA700, 0xA701})
_MAY_PASS: Final = {
    0xA700: "it is out of resources (A700)",
    0xA701: "it is out of resources (A701)",
    0xA702: "it could not send (A702): Imex has to be reachable for it, and it a sender in the directory",
    0xFE00: "it broke off (FE00)",
}
_LASTING: Final = {
    0x0122: "it does not know the service (0122)",
    0x0124: "it lets Imex not do that (0124)",
    0xA801: "it does not know {destination} as a destination of C-MOVE (A801): enter Imex's address there",
}
_RETURNED: Final = (
    "StudyInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
    "AccessionNumber",
    "StudyDate",
    "StudyTime",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedInstances",
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds, and counts."""

    connect_s: float = 10.0
    find_s: float = 60.0
    """Between two answers of a C-FIND."""
    whole_find_s: float = 300.0
    move_s: float = 600.0
    """Between two responses of a C-MOVE: archives that fetch from tape say nothing meanwhile."""
    whole_move_s: float = 6 * 3600.0
    answers: int = MOST_ANSWERS
    """Of one C-FIND."""
    threads: int = 16
    of_a_node: int = 2


@dataclass(slots=True)
class _Line:
    """An association that another thread may have to end."""

    association: Association | None = None
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def cut(self) -> None:
        with self.lock:
            self.over = True
            if self.association is not None and self.association.is_established:
                self.association.abort()


class DicomArchive:
    """See `imex.delivery.retrieving.archive.Archive`."""

    def __init__(
        self,
        ae_title: str,
        destination: str,
        bounds: Bounds | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        outbound: Outbound | None = None,
    ) -> None:
        """`ae_title` is what Imex calls itself; `destination` what archives know ingest by.

        `outbound` says where it may connect to.
        """
        self._outbound = outbound or Outbound()
        self._ae_title = ae_title
        self._destination = destination
        self._bounds = bounds or Bounds()
        self._tls = tls
        self._threads = ThreadPoolExecutor(self._bounds.threads, "retrieving")
        self._turns: dict[tuple[str, int], asyncio.Semaphore] = {}

    async def ask(
        self, endpoint: Endpoint, keys: Iterable[tuple[str, str]], within: Within, meant: Meant
    ) -> list[Answer]:
        """See the protocol."""
        return await self._in_thread(_node(endpoint), self._ask, tuple(keys), within, meant)

    async def fetch(self, endpoint: Endpoint, study_uid: str, holder: str, priority: Priority) -> Fetched:
        """See the protocol; whose it is, the archive's own AE title says to ingest."""
        return await self._in_thread(_node(endpoint), self._fetch, study_uid, priority)

    def close(self) -> None:
        """Ask no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, node: DicomEndpoint, work: Callable[..., T], *what: Any) -> T:
        turn = self._turns.setdefault((node.host, node.port), asyncio.Semaphore(self._bounds.of_a_node))
        line = _Line()
        async with turn:
            running = asyncio.get_running_loop().run_in_executor(self._threads, work, line, node, *what)
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                # a thread cannot be interrupted, its association can
                running.add_done_callback(_heard)
                await asyncio.to_thread(line.cut)
                await asyncio.wait([running], timeout=5.0)
                raise

    def _ask(
        self,
        line: _Line,
        node: DicomEndpoint,
        keys: tuple[tuple[str, str], ...],
        within: Within,
        meant: Meant,
    ) -> list[Answer]:
        until = time.monotonic() + self._bounds.whole_find_s
        found: list[Answer] = []
        with self._associated(line, node, STUDY_ROOT_FIND, self._bounds.find_s) as association:
            for key in keys:
                found += [one for one in self._find(association, key, within, until) if meant(one)]
        return found

    def _find(
        self, association: Association, key: tuple[str, str], within: Within, until: float
    ) -> Iterator[Answer]:
        count = 0
        for status, identifier in association.send_c_find(_query(key, within), STUDY_ROOT_FIND):
            code = _code(status, "C-FIND")
            if code in _PENDING:
                count += 1
                if count > self._bounds.answers or time.monotonic() > until:
                    association.abort()
                    raise NotDone("its answers to C-FIND do not end: it does not narrow them")
                if identifier is not None and (answer := _answer(identifier)) is not None:
                    yield answer
            elif code:
                raise _trouble(code, "C-FIND", self._destination)

    def _fetch(self, line: _Line, node: DicomEndpoint, study_uid: str, priority: Priority) -> Fetched:
        from pydicom.dataset import Dataset

        query = Dataset()
        query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study_uid
        until = time.monotonic() + self._bounds.whole_move_s
        urgency = _MEDIUM if priority == "routine" else _HIGH
        counts = (0, 0)
        with self._associated(line, node, STUDY_ROOT_MOVE, self._bounds.move_s) as association:
            for status, _ in association.send_c_move(
                query, self._destination, STUDY_ROOT_MOVE, priority=urgency
            ):
                code = _code(status, "C-MOVE")
                counts = _counts(status, counts)
                if code in _PENDING:
                    if time.monotonic() > until:
                        association.abort()
                        raise Away(f"a C-MOVE did not end within {self._bounds.whole_move_s:.0f} s")
                elif code in {0x0000, 0xB000}:
                    return Fetched(*counts)
                elif any(counts):
                    return Fetched(*counts, words=str(_trouble(code, "C-MOVE", self._destination)))
                else:
                    raise _trouble(code, "C-MOVE", self._destination)
        raise Away("the connection was lost before the answer to a C-MOVE")

    @contextmanager
    def _associated(
        self, line: _Line, node: DicomEndpoint, sop_class: str, response_s: float
    ) -> Iterator[Association]:
        try:
            association = associated(
                self._ae_title,
                node,
                (sop_class,),
                Waits(self._bounds.connect_s, response_s),
                self._tls,
                outbound=self._outbound,
            )
        except NotAssociated as error:
            words = f"no {_SERVICES[sop_class]}: {error}"
            raise (NotDone if error.lasting else Away)(words) from error
        with line.lock:
            line.association = association
        try:
            if line.over:
                raise Away("it was broken off")
            yield association
        except (RuntimeError, ValueError) as error:
            raise Away(f"the connection was lost ({type(error).__name__})") from error
        finally:
            if association.is_established:
                association.release()


def _heard(running: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more, whatever it ended with."""
    if not running.cancelled():
        running.exception()


def _query(key: tuple[str, str], within: Within) -> Dataset:
    """The issuer is asked for and not narrowed by: archives that do not keep it would find nothing."""
    from pydicom.dataset import Dataset

    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    for name in _RETURNED:
        setattr(query, name, None if name == "NumberOfStudyRelatedInstances" else "")
    query.StudyDate = within.days
    query.ModalitiesInStudy = within.modality or ""
    keyword, value = key
    if not value.isascii():
        query.SpecificCharacterSet = "ISO_IR 192"
    setattr(query, keyword, value)
    return query


def _answer(identifier: Dataset) -> Answer | None:
    """What is told of one study; None where it cannot be read."""
    try:
        modalities = identifier.get("ModalitiesInStudy", None) or ()
        several = (modalities,) if isinstance(modalities, str) else modalities
        number = identifier.get("NumberOfStudyRelatedInstances", None)
        return Answer(
            study_uid=_text(identifier, "StudyInstanceUID"),
            patient_id=_text(identifier, "PatientID"),
            issuer=_text(identifier, "IssuerOfPatientID"),
            accession=_text(identifier, "AccessionNumber"),
            day=_text(identifier, "StudyDate").replace(".", ""),
            time=_text(identifier, "StudyTime"),
            modalities=frozenset(str(one) for one in several if one),
            instances=int(number) if number not in {None, ""} else None,
        )
    except (ValueError, TypeError, AttributeError, LookupError):
        return None


def _text(identifier: Dataset, keyword: str) -> str:
    return str(identifier.get(keyword, "") or "")[:1024]


def _code(status: Dataset, service: str) -> int:
    if not status or "Status" not in status:
        raise Away(f"the connection was lost, or nothing came, before the answer to a {service}")
    return int(status.Status)


def _counts(status: Dataset, before: tuple[int, int]) -> tuple[int, int]:
    """Sub-operations that were completed, with or without a warning, and that failed (PS3.7 9.3.4.2)."""
    names = ("NumberOfCompletedSuboperations", "NumberOfWarningSuboperations", "NumberOfFailedSuboperations")
    told = [status.get(name, None) for name in names]
    if all(one is None for one in told):
        return before
    completed, warned, failed = (int(one or 0) for one in told)
    return completed + warned, failed


def _trouble(code: int, service: str, destination: str) -> Away | NotDone:
    """A final status that is no success, in words (PS3.4 tables C.4-1 and C.4-2)."""
    of_study = service == "C-MOVE" and code not in _FULL
    if code in _MAY_PASS:
        return Away(f"the {service} was answered: {_MAY_PASS[code]}", of_study=of_study)
    if code in _LASTING:
        return NotDone(f"the {service} was answered: {_LASTING[code].format(destination=destination)}")
    words = f"the {service} was answered with {code:04X}"
    if of_study and code >> 12 == 0xC:
        words += f": it may not know {destination} as a destination, or cannot send there"
    return Away(words, of_study=of_study) if code >> 12 == 0xC or code == 0x0110 else NotDone(words)


def _node(endpoint: Endpoint) -> DicomEndpoint:
    if not isinstance(endpoint, DicomEndpoint):
        raise NotDone(f"endpoint {endpoint.name} is no DICOM node")
    return endpoint
