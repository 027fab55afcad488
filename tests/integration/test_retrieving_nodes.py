"""Archives that misbehave when they are asked for studies by DIMSE."""

import asyncio
import io
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from imex.delivery.retrieving.archive import Away, Fetched, NotDone
from imex.delivery.retrieving.dimse import Bounds, DicomArchive
from imex.delivery.retrieving.matching import Answer, Within
from imex.directory.model import DicomEndpoint
from imex.observability.logs import configure_logging
from imex.outbound import Outbound

KEY = (("PatientID", "9434765919"),)


@dataclass
class Node:
    """Answers as a test says."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    find_status: int = 0x0000
    move: Callable[[], int] = lambda: 0
    """Gives the final status of a C-MOVE for which nothing is sent."""
    asked: list[Dataset] = field(default_factory=list)
    destinations: list[str] = field(default_factory=list)
    priorities: list[int] = field(default_factory=list)
    aborted: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def endpoint(self) -> DicomEndpoint:
        return DicomEndpoint(
            name="archive", type="dicom", ae_title="RQM_PACS", host="127.0.0.1", port=self.port, query=True
        )

    def find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        self.asked.append(event.identifier)
        for one in self.answers:
            found = Dataset()
            for name, value in one.items():
                setattr(found, name, value)
            yield 0xFF00, found
        if self.find_status:
            yield self.find_status, None

    def moved(self, event: Any) -> Iterator[Any]:
        self.destinations.append(str(event.request.MoveDestination))
        self.priorities.append(event.request.Priority)
        status = self.move()
        # an unknown destination is what pynetdicom answers by itself
        yield (None, None) if status == 0xA801 else ("127.0.0.1", 1)
        yield 0


@contextmanager
def running(node: Node) -> Iterator[Node]:
    entity = AE("RQM_PACS")
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
    handlers: list[Any] = [
        (evt.EVT_C_FIND, node.find),
        (evt.EVT_C_MOVE, node.moved),
        (evt.EVT_ABORTED, lambda _: node.aborted.set()),
    ]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    node.port = server.server_address[1]
    try:
        yield node
    finally:
        server.shutdown()


@pytest.fixture
def archive() -> Iterator[DicomArchive]:
    made = DicomArchive("IMEX", "IMEX", Bounds(connect_s=2.0, find_s=1.0, move_s=1.0, answers=50))
    yield made
    made.close()


async def asked(archive: DicomArchive, node: Node, within: Within | None = None) -> list[Answer]:
    return await archive.ask(node.endpoint(), KEY, within or Within(), lambda one: one.study_uid != "9.9")


async def fetched(archive: DicomArchive, node: Node) -> Fetched:
    return await archive.fetch(node.endpoint(), "1.2.3", "RQM", "emergency")


async def test_what_is_asked_and_what_is_read(archive: DicomArchive) -> None:
    told = {
        "StudyInstanceUID": "1.2.3",
        "PatientID": "9434765919",
        "IssuerOfPatientID": "NHS",
        "StudyDate": "20240105",
        "ModalitiesInStudy": ["CT", "SR"],
        "NumberOfStudyRelatedInstances": "12",
    }
    bare = {"StudyInstanceUID": "1.2.4"}
    with running(Node([told, bare, {"StudyInstanceUID": "9.9"}])) as node:
        found = await asked(archive, node, Within("CT", "20240101", "20241231"))
    assert found == [
        Answer(
            "1.2.3", "9434765919", "NHS", day="20240105", modalities=frozenset({"CT", "SR"}), instances=12
        ),
        Answer("1.2.4"),
    ]
    [query] = node.asked
    assert (query.QueryRetrieveLevel, query.PatientID, query.StudyDate) == (
        "STUDY",
        "9434765919",
        "20240101-20241231",
    )
    assert (query.ModalitiesInStudy, query.IssuerOfPatientID) == ("CT", "")


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("delivery", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def test_neither_who_is_asked_for_nor_who_is_found_stands_in_the_log(
    archive: DicomArchive, logged: io.StringIO
) -> None:
    told = {"StudyInstanceUID": "1.2.3", "PatientID": "9434765919", "PatientName": "OKONKWO^CHIDI"}
    with running(Node([told])) as node:
        logging.getLogger("imex.delivery").info("asking")
        assert len(await asked(archive, node)) == 1
    assert "asking" in logged.getvalue()
    assert "9434765919" not in logged.getvalue()
    assert "OKONKWO" not in logged.getvalue()


@dataclass(frozen=True)
class Several(Outbound):
    """A name with more addresses than one."""

    found: tuple[str, ...] = ()

    def addresses_now(self, host: str, port: int) -> list[str]:
        return list(self.found)


async def test_a_name_with_several_addresses_is_asked_at_one_that_answers() -> None:
    for found, answers in ((("127.0.0.2", "127.0.0.1"), True), (("127.0.0.2", "127.0.0.3"), False)):
        archive = DicomArchive("IMEX", "IMEX", Bounds(connect_s=2.0), outbound=Several(found=found))
        with running(Node([{"StudyInstanceUID": "1.2.3"}])) as node:
            if answers:
                assert await asked(archive, node) == [Answer("1.2.3")]
            else:
                with pytest.raises(Away, match="not to be had"):
                    await asked(archive, node)
        archive.close()


async def test_an_archive_that_tells_of_everybody_is_asked_no_further(archive: DicomArchive) -> None:
    everybody = [{"StudyInstanceUID": f"1.2.{number}"} for number in range(80)]
    with running(Node(everybody)) as node, pytest.raises(NotDone, match="do not end"):
        await asked(archive, node)


@pytest.mark.parametrize(
    ("status", "trouble", "words"),
    [(0xA700, Away, "A700"), (0xC001, Away, "C001"), (0xA900, NotDone, "A900"), (0x0122, NotDone, "0122")],
)
async def test_a_find_that_fails_says_how(
    archive: DicomArchive, status: int, trouble: type[Exception], words: str
) -> None:
    with running(Node(find_status=status)) as node, pytest.raises(trouble, match=words):
        await asked(archive, node)


async def test_an_unknown_destination_says_what_to_enter(archive: DicomArchive) -> None:
    words = r"does not know IMEX as a destination of C-MOVE \(A801\)"
    with running(Node(move=lambda: 0xA801)) as node, pytest.raises(NotDone, match=words):
        await fetched(archive, node)
    assert (node.destinations, node.priorities) == (["IMEX"], [1])


async def test_a_silent_archive_is_away(archive: DicomArchive) -> None:
    over = threading.Event()

    def silent() -> int:
        over.wait(10)
        return 0

    with running(Node(move=silent)) as node:
        with pytest.raises(Away) as away:
            await fetched(archive, node)
        over.set()
    assert not away.value.of_study


async def test_who_stops_waiting_ends_the_association() -> None:
    over = threading.Event()
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    archive = DicomArchive("IMEX", "IMEX", Bounds(connect_s=2.0, move_s=60.0))

    def long() -> int:
        loop.call_soon_threadsafe(begun.set)
        over.wait(30)
        return 0

    with running(Node(move=long)) as node:
        task = asyncio.create_task(fetched(archive, node))
        await asyncio.wait_for(begun.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        over.set()
        assert await asyncio.to_thread(node.aborted.wait, 10)
    archive.close()
