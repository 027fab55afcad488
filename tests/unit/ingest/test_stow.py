"""A store transaction in a world of fakes: part by part into the same sink as a C-STORE's data sets."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from imex.dicom import file_meta
from imex.dicomweb import outcome
from imex.dicomweb.outcome import StowOutcome
from imex.dicomweb.related import RelatedReader, closing, part_head
from imex.dicomweb.statement import Statement, sign
from imex.ingest.settings import StowSettings
from imex.ingest.stow.pace import BodySlow, Pace
from imex.ingest.stow.request import BodyNotTaken, StoreTransaction, Whole
from imex.ingest.stow.server import StowServer
from imex.runtime.errors import BrokerUnavailable
from imex.storage import StoreUnavailable

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
SECRET = "a secret of more than thirty-two characters"
KIND = 'multipart/related; type="application/dicom"; boundary=b'
Make = Callable[..., bytes]


class Body:
    """Gives pieces, and then waits, ends or breaks."""

    def __init__(self, data: bytes, step: int = 700, *, then: Exception | None = None, stays: bool = False):
        self._pieces = [data[start : start + step] for start in range(0, len(data), step)]
        self._then = then
        self._stays = stays

    async def readany(self) -> bytes:
        await asyncio.sleep(0)
        if self._pieces:
            return self._pieces.pop(0)
        if self._stays:
            await asyncio.Event().wait()
        if self._then is not None:
            raise self._then
        return b""


def file(data: bytes, sop: str = "9.9", syntax: str = EXPLICIT) -> bytes:
    return file_meta(CT, sop, syntax) + data


def body(*files: bytes, kind: str = "application/dicom") -> bytes:
    parts = (part_head("b", kind, first=not n) + data for n, data in enumerate(files))
    return b"".join(parts) + closing("b")


def transaction(world: Any, study: str = "", within_s: float = 5.0) -> StoreTransaction:
    return StoreTransaction(world.around, Statement("RQM", "t1", study, KIND), "192.0.2.1", Pace(within_s))


async def store(world: Any, data: bytes, study: str = "", **more: Any) -> StowOutcome:
    return await transaction(world, study).take(Body(data, **more), RelatedReader("b"))


def statuses(told: StowOutcome) -> list[int]:
    return [part.status for part in told.parts]


async def test_each_part_is_an_instance_with_its_data_sets_own_digest(world: Any, dataset: Make) -> None:
    sets = [dataset(f"1.2.3.{n}", "1.2.3") for n in (1, 2, 3)]
    told = await store(world, body(*(file(each) for each in sets)), "1.2.3")
    assert told.http_status == 200
    assert [part.sop_instance_uid for part in told.parts] == [f"1.2.3.{n}" for n in (1, 2, 3)]
    assert {part.study_uid for part in told.parts} == {"1.2.3"}
    digests = {each.sop_instance_uid: each.digest for each in world.received}
    assert digests == {
        f"1.2.3.{n}": f"sha256:{hashlib.sha256(each).hexdigest()}" for n, each in enumerate(sets, 1)
    }
    assert {each.recipient for each in world.received} == {None}
    stored = await world.store.get(world.received[0].object_key)
    assert stored.endswith(sets[int(world.received[0].sop_instance_uid[-1]) - 1])


async def test_the_study_is_told_that_no_more_of_it_comes(world: Any, dataset: Make) -> None:
    told = await store(world, body(file(dataset("1.2.3.1")), b"junk"))
    assert told.http_status == 202
    (end,) = world.ends
    assert (end.study_uid, end.received, end.outcome) == ("1.2.3", 1, "released")
    assert end.association == world.received[0].association
    audits = {audit.action: audit for audit in world.audits}
    assert audits["instances_received"].details["via"] == "stow-rs"
    assert audits["instances_received"].personal == {"address": "192.0.2.1"}
    assert "DICM" in audits["instances_refused"].reason or "preamble" in audits["instances_refused"].reason
    assert world.memory.used == 0


@pytest.mark.parametrize("length", [100, 140, 200, 300, 400])
async def test_a_part_that_ends_in_its_header_is_named_as_failed(
    world: Any, dataset: Make, length: int
) -> None:
    told = await store(world, body(file(dataset("1.2.3.1", "1.2.3"))[:length], file(dataset("1.2.3.2"))))
    assert statuses(told) == [outcome.NOT_UNDERSTOOD, outcome.STORED]
    assert told.http_status == 202
    assert len(world.received) == 1


async def test_every_length_of_a_header_is_a_failure_and_every_cut_in_the_pixels_is_stored(
    world: Any, dataset: Make
) -> None:
    whole = file(dataset("1.2.3.1", "1.2.3"))
    pixels_at = len(whole) - 512
    cuts = [*range(0, pixels_at, 37), pixels_at - 12, pixels_at - 1, pixels_at + 1, len(whole) - 1]
    told = await store(world, body(*(whole[:cut] for cut in cuts)))
    expected = [outcome.NOT_UNDERSTOOD if cut < pixels_at else outcome.STORED for cut in cuts]
    assert statuses(told) == expected


async def test_a_part_of_another_study_than_the_paths_is_named_as_failed(world: Any, dataset: Make) -> None:
    told = await store(
        world, body(file(dataset("1.2.3.1", "1.2.3")), file(dataset("1.2.3.2", "1.9"))), "1.2.3"
    )
    assert statuses(told) == [outcome.STORED, outcome.OTHER_STUDY]
    assert told.parts[1].sop_instance_uid == "1.2.3.2"
    alone = await store(world, body(file(dataset("1.2.3.2", "1.9"))), "1.2.3")
    assert alone.http_status == 400
    assert {each.study_uid for each in world.received} == {"1.2.3"}


async def test_without_a_study_in_the_path_each_part_may_be_of_its_own(world: Any, dataset: Make) -> None:
    told = await store(world, body(file(dataset("1.2.3.1", "1.2.3")), file(dataset("1.2.3.2", "1.9"))))
    assert told.http_status == 200
    assert {end.study_uid for end in world.ends} == {"1.2.3", "1.9"}


async def test_what_is_no_storage_class_is_not_taken(world: Any, dataset: Make) -> None:
    data = dataset("1.2.3.1", SOPClassUID="1.2.840.10008.1.1")
    told = await store(world, body(file(data)))
    assert (statuses(told), told.http_status) == ([outcome.CLASS_NOT_SUPPORTED], 409)


async def test_a_part_of_another_media_type_is_named_as_failed(world: Any, dataset: Make) -> None:
    told = await store(world, body(file(dataset()), kind="text/html"))
    assert told.http_status == 400
    nested = body(file(dataset()))
    told = await store(world, body(nested, kind="multipart/related; boundary=b"))
    assert told.http_status == 400 and not world.received


@pytest.mark.parametrize("what", ["store", "broker"])
async def test_without_room_nothing_is_said_to_be_stored(world: Any, dataset: Make, what: str) -> None:
    files = [file(dataset(f"1.2.3.{n}")) for n in range(1, 8)]
    if what == "store":
        world.store.failure = StoreUnavailable("away")
    else:
        world.broker.failure = BrokerUnavailable("away")
    told = await store(world, body(*files))
    assert told.http_status == 503
    assert set(statuses(told)) == {outcome.OUT_OF_RESOURCES}
    assert [part.sop_instance_uid for part in told.parts] == [f"1.2.3.{n}" for n in range(1, 8)]
    assert "not tried" in told.parts[-1].words
    assert not world.received and world.memory.used == 0


async def test_a_body_that_breaks_off_in_its_form_keeps_what_came_before(world: Any, dataset: Make) -> None:
    told = await store(world, body(file(dataset("1.2.3.1")), file(dataset("1.2.3.2")))[:-200])
    assert statuses(told) == [outcome.STORED, outcome.NOT_UNDERSTOOD]
    assert "closing boundary" in told.parts[1].words
    assert len(world.received) == 1 and world.memory.used == 0


async def test_a_sender_that_goes_away_has_stored_what_was_complete(world: Any, dataset: Make) -> None:
    data = body(file(dataset("1.2.3.1")), file(dataset("1.2.3.2")))[:-200]
    with pytest.raises(ConnectionResetError):
        await store(world, data, then=ConnectionResetError())
    (end,) = world.ends
    assert (end.received, end.outcome) == (1, "lost")
    assert world.memory.used == 0


async def test_a_body_without_progress_is_given_up(world: Any, dataset: Make) -> None:
    body_ = Body(body(file(dataset()))[:-100], stays=True)
    with pytest.raises(BodySlow):
        await transaction(world, within_s=0.05).take(body_, RelatedReader("b"))
    assert [audit.details["ended"] for audit in world.audits] == []
    assert world.memory.used == 0


async def test_a_body_without_parts_or_form_is_refused(world: Any) -> None:
    for data in (b"", b"--b--\r\n", b"not multipart at all"):
        with pytest.raises(BodyNotTaken) as refused:
            await store(world, data)
        assert refused.value.status == 400


async def test_one_file_may_come_without_multipart(world: Any, dataset: Make) -> None:
    told = await transaction(world).take(Body(file(dataset("1.2.3.1"))), Whole())
    assert told.http_status == 200 and len(world.received) == 1


async def test_a_large_part_streams_and_one_of_another_study_leaves_nothing(
    new_world: Callable[..., Any], dataset: Make
) -> None:
    world = new_world()
    data = dataset("1.2.3.1", "1.2.3", Rows=4000, Columns=3000, PixelData=bytes(24_000_000))
    told = await store(world, body(file(data)), "1.2.3", step=65536)
    assert told.http_status == 200
    assert world.received[0].size == len(data)
    told = await store(world, body(file(data)), "1.2.9", step=65536)
    assert told.http_status == 400
    await world.later.run_chores()
    assert len(world.store.objects) == 1 and world.store.open_uploads == 0
    assert world.memory.used == 0


@asynccontextmanager
async def served(world: Any, **settings: Any) -> AsyncIterator[str]:
    given = StowSettings(port=0, secret=SecretStr(SECRET), **settings)
    server = StowServer(given, world.around, 1.0, shared=False, pace=Pace(0.5))
    await server.start()
    try:
        yield f"http://127.0.0.1:{server.port}/studies"
    finally:
        await server.stop()


def headers(
    study: str = "", institution: str = "RQM", kind: str = KIND, secret: str = SECRET
) -> dict[str, str]:
    statement = sign(Statement(institution, "t1", study, kind), secret, time.time())
    return {"Authorization": f"Bearer {statement}", "Content-Type": kind}


async def post(url: str, data: Any, given: dict[str, str]) -> tuple[int, Any, Any]:
    async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=given) as answer:
        return answer.status, await answer.json(), answer.headers


async def test_over_http_the_statement_decides_who_sends(world: Any, dataset: Make) -> None:
    data = body(file(dataset("1.2.3.1")))
    async with served(world) as url:
        status, told, _ = await post(f"{url}/1.2.3", data, headers("1.2.3"))
        assert status == 200 and StowOutcome.model_validate(told).http_status == 200
        assert world.received[0].source == "RQM"
        refused = [
            {"Content-Type": KIND},
            headers(""),
            headers("1.2.3", secret=SECRET[::-1]),
            headers("1.2.3", kind="application/dicom") | {"Content-Type": KIND},
        ]
        for given in refused:
            status, told, _ = await post(f"{url}/1.2.3", data, given)
            assert status == 401, told
        assert (await post(url, data, headers(institution="NOBODY")))[0] == 403
    assert len(world.received) == 1


async def test_over_http_a_full_house_says_when_to_come_again(world: Any, dataset: Make) -> None:
    world.doors.room = 0
    async with served(world) as url:
        status, told, given = await post(url, body(file(dataset())), headers())
    assert status == 503 and int(given["Retry-After"]) > 0
    assert "Send again later" in told["detail"]


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "multipart/form-data; boundary=b",
        'multipart/related; type="application/dicom+json"; boundary=b',
    ],
)
async def test_over_http_other_bodies_are_not_taken(world: Any, kind: str) -> None:
    async with served(world) as url:
        assert (await post(url, b"{}", headers(kind=kind)))[0] == 415


async def test_over_http_a_slow_body_is_answered(world: Any, dataset: Make) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield body(file(dataset()))[:-100]
        await asyncio.sleep(20)

    async with served(world) as url:
        status, told, _ = await post(url, slow(), headers())
    assert status == 408 and "next to nothing" in told["detail"]
    assert world.doors.inside == 0


async def test_several_processes_share_the_port(world: Any, dataset: Make) -> None:
    given = StowSettings(port=0, secret=SecretStr(SECRET))
    first = StowServer(given, world.around, 1.0, shared=True)
    await first.start()
    second = StowServer(given.model_copy(update={"port": first.port}), world.around, 1.0, shared=True)
    await second.start()
    try:
        url = f"http://127.0.0.1:{first.port}/studies"
        for _ in range(4):
            assert (await post(url, body(file(dataset())), headers()))[0] == 200
        await first.stop()
        assert (await post(url, body(file(dataset())), headers()))[0] == 200
    finally:
        await second.stop()
