"""Archives that misbehave when they are asked for studies by DICOMweb."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from imex.delivery.retrieving.archive import Away, Fetched, NotDone
from imex.delivery.retrieving.dicomweb import DicomwebArchive
from imex.delivery.retrieving.matching import Answer, Within
from imex.delivery.targets.dicomweb.tokens import Tokens
from imex.delivery.targets.dicomweb.web import Web, WebLimits
from imex.dicomweb.door import BodyBroke, NotTaken
from imex.dicomweb.outcome import NOT_UNDERSTOOD, OUT_OF_RESOURCES, PartOutcome, StowOutcome
from imex.dicomweb.statement import Statement
from imex.directory.model import DicomwebEndpoint

KEY = (("PatientID", "9434765919"),)
RELATED = 'multipart/related; type="application/dicom"; boundary=b'
ONE = StowOutcome(parts=(PartOutcome(part=1, status=0),))
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Ingest:
    """Stands for ingest's door: takes the body, and answers as a test says."""

    answers: StowOutcome | Exception = ONE
    statements: list[Statement] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def store(self, statement: Statement, address: str, body: AsyncIterator[bytes]) -> StowOutcome:
        self.statements.append(statement)
        try:
            self.bodies.append(b"".join([piece async for piece in body]))
        except Exception as error:
            raise BodyBroke from error
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers


@asynccontextmanager
async def served(
    answering: Answering, ingest: Any = None, whole_search_s: float = 300.0
) -> AsyncIterator[tuple[DicomwebArchive, Any]]:
    application = web.Application()
    application.router.add_get("/dicom/studies", answering)
    application.router.add_get("/dicom/studies/{study}", answering)
    server = TestServer(application)
    await server.start_server()
    client = Web(limits=WebLimits(connect_s=2.0, stalled_s=1.0, response_s=2.0))
    endpoint = DicomwebEndpoint(
        name="archive", type="dicomweb", url=f"http://127.0.0.1:{server.port}/dicom", query=True
    )
    door: Any = ingest or Ingest()
    try:
        yield DicomwebArchive(client, Tokens(client, lambda _: None), door, whole_search_s), endpoint
    finally:
        await client.close()
        await server.close()


def studies(*uids: str, **more: Any) -> bytes:
    return json.dumps([{"0020000D": {"vr": "UI", "Value": [uid]}, **more} for uid in uids]).encode()


def answer(body: bytes = b"", status: int = 200, kind: str = "application/dicom+json") -> Answering:
    async def answering(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers={"Content-Type": kind})

    return answering


async def asked(answering: Answering, within: Within | None = None) -> list[Answer]:
    async with served(answering) as (archive, endpoint):
        return await archive.ask(endpoint, KEY, within or Within(), lambda _: True)


async def fetched(answering: Answering, ingest: Ingest) -> Fetched:
    async with served(answering, ingest) as (archive, endpoint):
        return await archive.fetch(endpoint, "1.2.3", "RQM", "routine")


async def test_what_is_asked_and_what_is_read_page_by_page() -> None:
    queries = []
    pages = [studies("1.2.1", "1.2.2"), studies("1.2.3"), b"[]"]

    async def answering(request: web.Request) -> web.StreamResponse:
        queries.append(dict(request.query))
        return web.Response(body=pages[len(queries) - 1], content_type="application/dicom+json")

    found = await asked(answering, Within("CT", None, "20241231"))
    assert [one.study_uid for one in found] == ["1.2.1", "1.2.2", "1.2.3"]
    assert [query["offset"] for query in queries] == ["0", "2", "3"]
    narrowed = {name: queries[0][name] for name in ("PatientID", "StudyDate", "ModalitiesInStudy")}
    assert narrowed == {"PatientID": "9434765919", "StudyDate": "-20241231", "ModalitiesInStudy": "CT"}


async def test_what_is_told_of_a_study_is_read_whatever_its_form() -> None:
    body = studies(
        "1.2.3",
        **{
            "00100020": {"vr": "LO", "Value": ["9434765919 "]},
            "00080061": {"vr": "CS", "Value": ["CT", None, "SR"]},
            "00201208": {"vr": "IS", "Value": [12]},
            "00100021": "no element",
            "00080020": {"vr": "DA"},
        },
    )
    [found] = await asked(answer(body))
    assert found == Answer("1.2.3", "9434765919", modalities=frozenset({"CT", "SR"}), instances=12)


async def test_a_server_without_offsets_is_asked_twice() -> None:
    assert len(await asked(answer(studies("1.2.1", "1.2.2")))) == 2


async def test_a_server_that_does_not_narrow_is_asked_no_further() -> None:
    asked_so_far = 0

    async def everybody(_: web.Request) -> web.StreamResponse:
        nonlocal asked_so_far
        asked_so_far += 1
        body = studies(*(f"1.2.{asked_so_far}.{number}" for number in range(1, 2001)))
        return web.Response(body=body, content_type="application/dicom+json")

    with pytest.raises(NotDone, match="do not end"):
        await asked(everybody)
    assert asked_so_far == 3


async def test_a_search_ends_in_time_where_a_server_gives_one_study_a_page() -> None:
    asked_so_far = 0

    async def trickling(_: web.Request) -> web.StreamResponse:
        nonlocal asked_so_far
        asked_so_far += 1
        await asyncio.sleep(0.05)
        return web.Response(body=studies(f"1.2.{asked_so_far}"), content_type="application/dicom+json")

    async with served(trickling, whole_search_s=0.3) as (archive, endpoint):
        with pytest.raises(NotDone, match="did not end within"):
            await archive.ask(endpoint, KEY, Within(), lambda _: True)
    assert asked_so_far < 20


@pytest.mark.parametrize(
    ("status", "body", "trouble", "words"),
    [
        (204, b"", None, ""),
        (404, b"", NotDone, "404"),
        (401, b"", NotDone, "401"),
        (429, b"", Away, "429"),
        (503, b"", Away, "503"),
        (200, b"<html>", NotDone, "something else"),
        (200, b'{"a": 1}', NotDone, "something else"),
    ],
)
async def test_a_search_that_fails_says_how(
    status: int, body: bytes, trouble: type[Exception] | None, words: str
) -> None:
    if trouble is None:
        assert await asked(answer(body, status)) == []
        return
    with pytest.raises(trouble, match=words) as raised:
        await asked(answer(body, status))
    assert "9434765919" not in str(raised.value)


async def test_a_study_is_handed_on_as_it_comes_and_as_the_holders() -> None:
    ingest = Ingest()
    assert await fetched(answer(b"--b\r\n\r\nx\r\n--b--", kind=RELATED), ingest) == Fetched(1, 0)
    assert ingest.bodies == [b"--b\r\n\r\nx\r\n--b--"]
    kind = 'multipart/related; type="application/dicom"; boundary="b"'
    assert ingest.statements == [Statement("RQM", "retrieval", "1.2.3", kind, retrieved=True)]


@pytest.mark.parametrize(
    ("kind", "status", "trouble", "words"),
    [
        ("text/html", 200, NotDone, "something else"),
        ('multipart/related; type="application/dicom+json"; boundary=b', 200, NotDone, "something else"),
        ('multipart/related; boundary="a\tb"', 200, NotDone, "something else"),
        (RELATED, 406, NotDone, "406"),
        (RELATED, 404, NotDone, "404"),
        (RELATED, 503, Away, "503"),
    ],
)
async def test_what_is_no_study_is_not_handed_on(
    kind: str, status: int, trouble: type[Exception], words: str
) -> None:
    ingest = Ingest()
    with pytest.raises(trouble, match=words):
        await fetched(answer(b"x", status, kind), ingest)
    assert ingest.statements == []


@pytest.mark.parametrize("ends", ["breaks off", "stalls"])
async def test_a_body_that_does_not_end_is_tried_again_a_few_times(ends: str) -> None:
    async def answering(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": RELATED, "Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"--b\r\n")
        if ends == "stalls":
            await asyncio.sleep(1.5)
        assert request.transport is not None
        request.transport.abort()
        return response

    with pytest.raises(Away, match="while it sent") as away:
        await fetched(answering, Ingest())
    assert away.value.of_study


async def test_what_ingest_says_of_the_parts_counts() -> None:
    def parts(*statuses: int) -> StowOutcome:
        words = {0: "", NOT_UNDERSTOOD: "no DICOM", OUT_OF_RESOURCES: "full"}
        return StowOutcome(
            parts=tuple(
                PartOutcome(part=n, status=one, words=words[one]) for n, one in enumerate(statuses, 1)
            )
        )

    some = await fetched(answer(b"x", kind=RELATED), Ingest(parts(0, NOT_UNDERSTOOD, 0)))
    assert some == Fetched(2, 1, "no DICOM")
    with pytest.raises(Away, match="out of resources"):
        await fetched(answer(b"x", kind=RELATED), Ingest(parts(0, OUT_OF_RESOURCES)))
    with pytest.raises(NotDone, match="not in the directory"):
        await fetched(answer(b"x", kind=RELATED), Ingest(NotTaken(403, "not in the directory")))
    with pytest.raises(Away):
        await fetched(answer(b"x", kind=RELATED), Ingest(NotTaken(503, "busy", 15)))
