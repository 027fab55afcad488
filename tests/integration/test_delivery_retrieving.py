"""Studies that a request is about are fetched from the holder's archive: Orthanc, into a real ingest."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.schema import CreateSchema
from tests.integration.delivery_world import storescp
from tests.integration.retrieving_world import Retrievals, directory
from tests.integration.test_ingest_flow import Rig, running

from imex.db import Database
from imex.db.tables import delivery as tables
from imex.delivery.retrieving.archive import Archive, Away, Fetched, NotDone
from imex.delivery.retrieving.dicomweb import DicomwebArchive
from imex.delivery.retrieving.dimse import Bounds, DicomArchive
from imex.delivery.retrieving.matching import Answer
from imex.delivery.targets.dicomweb.tokens import Tokens
from imex.delivery.targets.dicomweb.web import Web, WebLimits
from imex.dicomweb.door import Door
from imex.events.audit import AuditRecorded, AuditRecordedData
from imex.events.catalog import TOPICS
from imex.events.instances import InstanceReceivedData
from imex.events.retrievals import RetrievalMatched
from imex.local.ports import free_ports
from imex.runtime.topics import ensure_topics
from imex.settings import KafkaSettings
from imex.testing.dicom import SyntheticStudy, nhs_number, synthetic_study
from imex.testing.parts import MinioPart
from imex.testing.peers import Orthanc
from imex.testing.runtime import until

PATIENT, ANOTHER = nhs_number(), nhs_number()
SECRET = "a secret of more than thirty-two characters"


@dataclass(frozen=True)
class Holder:
    """The holder's archive, and what it has."""

    orthanc: Orthanc
    imex: int
    """Where it sends what is to go to `IMEX`."""
    studies: tuple[SyntheticStudy, ...]
    """Two of the patient, one of somebody else."""

    @property
    def asked(self) -> dict[str, str]:
        return {"issuer": "NHS", "patient_id": PATIENT}


@pytest.fixture(scope="module")
def holder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holder]:
    port, http_port, imex = free_ports(3)
    folder: Path = tmp_path_factory.mktemp("orthanc")
    orthanc = Orthanc("RQM_PACS", port, http_port, folder, {"imex": ("IMEX", imex)}, dicomweb=True)
    orthanc.start()
    studies = (
        synthetic_study(5, size=64, patient_id=PATIENT),
        synthetic_study(3, size=64, patient_id=PATIENT, modality="MR"),
        synthetic_study(2, size=64, patient_id=ANOTHER),
    )
    for number, study in enumerate(studies):
        files = folder / str(number)
        orthanc.load(study.write(files))
    yield Holder(orthanc, imex, studies)
    orthanc.stop()


@pytest.fixture
async def world(empty_database_url: str, holder: Holder) -> AsyncIterator[Retrievals]:
    database = Database(empty_database_url, "delivery")
    async with database.engine.begin() as connection:
        await connection.execute(CreateSchema("delivery"))
        await connection.run_sync(tables.metadata.create_all)
    yield Retrievals(database, directory(port=holder.orthanc.port))
    await database.close()


@pytest.fixture
async def ingest(minio: MinioPart, kafka_settings: KafkaSettings, holder: Holder) -> AsyncIterator[Rig]:
    await ensure_topics(kafka_settings, TOPICS)
    async with running(minio, kafka_settings, dicom={"host": "127.0.0.1", "port": holder.imex}) as rig:
        await until(lambda: all(not each.health().detail for each in rig.components))
        yield rig


@pytest.fixture
def dicom() -> Iterator[dict[str, Archive]]:
    archive = DicomArchive("IMEX", "IMEX", Bounds(connect_s=2.0))
    yield {"dicom": archive}
    archive.close()


async def received(ingest: Rig, study: SyntheticStudy, calling: str) -> None:
    """All of it came in, by this calling AE title; other tests have it sent, too."""
    came: dict[str, str] = {}
    at_least = len(study.instances)
    while came != study.digests:
        found = await ingest.events("instances.bulk", study.study_uid, at_least, InstanceReceivedData)
        assert all((one.source, one.retrieved) == ("RQM", True) for one in found)
        came = {one.sop_instance_uid: one.digest for one in found if one.calling_ae == calling}
        at_least = len(found) + 1


async def test_orthanc_is_asked_by_c_find_and_sends_by_c_move(
    world: Retrievals, holder: Holder, ingest: Rig, dicom: dict[str, Archive]
) -> None:
    first, second, other = holder.studies
    async with world.working(dicom):
        request = await world.order(holder.asked)
        assert await world.ended(request) == "complete"
    assert set(await world.matched(request)) == {first.study_uid, second.study_uid}
    assert await world.studies(request) == {
        first.study_uid: ("fetched", 5, 0),
        second.study_uid: ("fetched", 3, 0),
    }
    for study in (first, second):
        await received(ingest, study, "RQM_PACS")
    said = await world.told(request)
    assert said[-1] == ("complete", "2 studies found, 2 here, 8 images sent")
    assert PATIENT not in str(said) and other.study_uid not in str(await world.matched(request))
    audited = [one.data for one in await world.events() if isinstance(one, AuditRecorded)]
    assert [one.action for one in audited] == ["studies_queried", "studies_retrieved", "studies_retrieved"]
    # the requester would read there whether somebody is known to the holder
    assert {(one.source, one.recipient) for one in audited} == {("RQM", None)}
    assert {one.details["request"] for one in audited} == {str(request)}
    assert PATIENT not in "".join(one.model_dump_json() for one in audited)


async def test_it_is_asked_by_accession_number_and_study_uid_and_within_days_and_modalities(
    world: Retrievals, holder: Holder, ingest: Rig, dicom: dict[str, Archive]
) -> None:
    first, second, other = holder.studies
    accession = first.accession
    async with world.working(dicom):
        asked = {
            await world.order({"accession": accession}): {first.study_uid},
            await world.order({"study_uid": other.study_uid}): {other.study_uid},
            await world.order(holder.asked, modality="MR"): {second.study_uid},
            await world.order(holder.asked, studied_until="19991231"): set(),
            await world.order({"issuer": "RQM", "patient_id": PATIENT}): set(),
            await world.order(holder.asked, modalities=("CT", "SR")): {first.study_uid},
        }
        for request, found in asked.items():
            how = await world.ended(request)
            assert set(await world.matched(request)) == found
            assert how == ("complete" if found else "nothing found")
    assert "no agreement covers their modalities" in (await world.told(list(asked)[-1]))[-1][1]


async def test_what_is_here_already_is_not_fetched_again(
    world: Retrievals, holder: Holder, dicom: dict[str, Archive]
) -> None:
    first, second, _ = holder.studies
    async with world.working(dicom):
        request = await world.order(holder.asked, held={first.study_uid: 5, second.study_uid: 3})
        assert await world.ended(request) == "complete"
    assert {state for state, *_ in (await world.studies(request)).values()} == {"held"}
    assert set(await world.matched(request)) == {first.study_uid, second.study_uid}


async def test_an_archive_that_cannot_send_ends_in_words_and_is_asked_again_by_a_person(
    world: Retrievals, holder: Holder, dicom: dict[str, Archive]
) -> None:
    nowhere = DicomArchive("IMEX", "NOWHERE", Bounds(connect_s=2.0))
    async with world.working({"dicom": nowhere}, most_tries=2):
        request = await world.order(holder.asked)
        assert await world.ended(request) == "failed"
    nowhere.close()
    state, words = (await world.told(request))[-1]
    assert state == "failed"
    assert words.count("it may not know NOWHERE as a destination") == 1
    async with world.working(dicom):
        await world.order(holder.asked, request=request, held={uid.study_uid: 9 for uid in holder.studies})
        assert await world.ended(request) == "complete"


async def test_an_archive_that_is_away_is_asked_again_until_it_answers(
    world: Retrievals, holder: Holder, ingest: Rig, dicom: dict[str, Archive]
) -> None:
    (nothing,) = free_ports(1)
    world.directory = directory(port=nothing)
    async with world.working(dicom):
        request = await world.order(holder.asked)
        await world.until(request, lambda one: one.failures >= 1)
        state, words = (await world.told(request))[-1]
        assert (state, "not to be had" in words, "tried again within" in words) == ("asking", True, True)
        world.directory = directory(port=holder.orthanc.port)
        assert await world.ended(request) == "complete"
    assert await world.studies(request) == {
        holder.studies[0].study_uid: ("fetched", 5, 0),
        holder.studies[1].study_uid: ("fetched", 3, 0),
    }


async def test_who_is_not_let_in_ends_it_with_the_archives_reason(
    world: Retrievals, holder: Holder, dicom: dict[str, Archive]
) -> None:
    world.directory = directory(port=holder.orthanc.port, ae_title="OTHER")
    async with world.working(dicom):
        request = await world.order(holder.asked)
        assert await world.ended(request) == "failed"
    assert "called AE title not recognised" in (await world.told(request))[-1][1]


async def test_wildcards_are_not_asked(world: Retrievals, holder: Holder, dicom: dict[str, Archive]) -> None:
    async with world.working(dicom):
        request = await world.order({"issuer": "RQM", "patient_id": "*"})
        assert await world.ended(request) == "failed"
    assert await world.studies(request) == {}


class _Dying:
    """Finds, and dies with its process when it should fetch."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.asked = 0
        self.fetching = asyncio.Event()

    async def ask(self, *what: Any) -> list[Answer]:
        self.asked += 1
        return await self._archive.ask(*what)

    async def fetch(self, *_: Any) -> Fetched:
        self.fetching.set()
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("next_one", ["one", "two"])
async def test_a_process_that_dies_between_finding_and_fetching_is_followed_by_another(
    world: Retrievals, holder: Holder, ingest: Rig, dicom: dict[str, Archive], next_one: str
) -> None:
    dying = _Dying(dicom["dicom"])
    async with world.working({"dicom": dying}, "one"):
        request = await world.order(holder.asked)
        await asyncio.wait_for(dying.fetching.wait(), 15)
    assert (await world.row(request)).state == "running"
    second = _Counting(dicom["dicom"])
    async with world.working({"dicom": second}, next_one):
        assert await world.ended(request) == "complete"
    assert (dying.asked, second.asked, second.fetched) == (1, 0, 2)
    found = [one for one in await world.events() if isinstance(one, RetrievalMatched)]
    assert len(found) == 1


class _Counting:
    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.asked = self.fetched = 0

    async def ask(self, *what: Any) -> list[Answer]:
        self.asked += 1
        return await self._archive.ask(*what)

    async def fetch(self, *what: Any) -> Fetched:
        self.fetched += 1
        return await self._archive.fetch(*what)


async def test_what_is_withdrawn_is_broken_off(
    world: Retrievals, holder: Holder, dicom: dict[str, Archive]
) -> None:
    dying = _Dying(dicom["dicom"])
    async with world.working({"dicom": dying}) as retriever:
        request = await world.order(holder.asked)
        await asyncio.wait_for(dying.fetching.wait(), 15)
        await world.withdraw(request)
        await until(lambda: not retriever.running)
    row = await world.row(request)
    assert (row.state, row.outcome, row.wanted) == ("ended", "withdrawn", None)


@pytest.fixture
async def stow(minio: MinioPart, kafka_settings: KafkaSettings) -> AsyncIterator[Rig]:
    await ensure_topics(kafka_settings, TOPICS)
    listening = {"host": "127.0.0.1", "port": 0, "secret": SECRET}
    async with running(minio, kafka_settings, stow=listening) as rig:
        await until(lambda: all(not each.health().detail for each in rig.components))
        yield rig


@asynccontextmanager
async def dicomweb(rig: Rig | None) -> AsyncIterator[dict[str, Archive]]:
    port = next(part.port for part in rig.components if part.name == "stow") if rig else free_ports(1)[0]
    door = Door(f"http://127.0.0.1:{port}", SECRET)
    web = Web(limits=WebLimits(connect_s=2.0, stalled_s=5.0))
    yield {"dicomweb": DicomwebArchive(web, Tokens(web, lambda _: None), door)}
    await door.close()
    await web.close()


async def test_orthanc_is_asked_by_qido_and_its_studies_are_handed_to_ingest_by_wado(
    world: Retrievals, holder: Holder, stow: Rig
) -> None:
    first, second, _ = holder.studies
    world.directory = directory(type="dicomweb", url=holder.orthanc.dicomweb)
    async with dicomweb(stow) as archives, world.working(archives):
        request = await world.order(holder.asked)
        assert await world.ended(request) == "complete"
        narrowed = await world.order(holder.asked, modality="MR")
        assert await world.ended(narrowed) == "complete"
        nothing = await world.order({"accession": "NONE"})
        assert await world.ended(nothing) == "nothing found"
    assert await world.studies(request) == {
        first.study_uid: ("fetched", 5, 0),
        second.study_uid: ("fetched", 3, 0),
    }
    assert set(await world.matched(narrowed)) == {second.study_uid}
    for study in (first, second):
        await received(stow, study, "")
    audited = await stow.events("audit", first.study_uid, 1, AuditRecordedData)
    assert ("wado-rs", "retrieval") in {(one.details.get("via"), one.details.get("token")) for one in audited}


async def test_with_ingest_away_it_is_tried_again(world: Retrievals, holder: Holder, stow: Rig) -> None:
    world.directory = directory(type="dicomweb", url=holder.orthanc.dicomweb)
    async with dicomweb(None) as archives, world.working(archives):
        request = await world.order(holder.asked)
        await world.until(request, lambda one: one.failures >= 1)
        assert "ingest did not take it" in (await world.told(request))[-1][1]
        row = await world.row(request)
        assert row.asked == {"archive": "answered"}
    async with dicomweb(stow) as archives, world.working(archives):
        assert await world.ended(request) == "complete"


async def test_what_is_no_archive_is_not_asked_for_ever(
    world: Retrievals, dicom: dict[str, Archive], tmp_path: Path
) -> None:
    async with storescp(tmp_path) as port, world.working(dicom):
        world.directory = directory(port=port)
        request = await world.order({"study_uid": "1.2.3"})
        assert await world.ended(request) == "failed"
    assert (await world.told(request))[-1][1].startswith("archive: no C-FIND: RQM_PACS takes none")


@dataclass
class _Told:
    """Says of each try what a test says."""

    tries: list[Fetched | Exception]

    async def ask(self, *_: Any) -> list[Answer]:
        return [Answer("1.2.3")]

    async def fetch(self, *_: Any) -> Fetched:
        said = self.tries.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


@pytest.mark.parametrize(
    ("tries", "how", "study", "words"),
    [
        ([Fetched(3, 2), Fetched(5)], "complete", ("fetched", 5, 0), "1 study found, 1 here, 5 images sent"),
        (
            [Fetched(3, 2), Fetched(4, 1, "no room")],
            "failed",
            ("failed", 4, 1),
            "1 study found, 0 here, 4 images sent; 1 images could not be sent; archive: no room",
        ),
        ([NotDone("gone")], "failed", ("failed", 0, 0), "archive: gone"),
        ([Away("C000", of_study=True), Fetched(5)], "complete", ("fetched", 5, 0), "5 images sent"),
    ],
)
async def test_what_could_not_all_be_sent_is_tried_again_and_told(
    world: Retrievals, tries: list[Any], how: str, study: tuple[str, int, int], words: str
) -> None:
    async with world.working({"dicom": _Told(tries)}, most_tries=2):
        request = await world.order({"study_uid": "1.2.3"})
        assert await world.ended(request) == how
    assert (await world.studies(request))["1.2.3"] == study
    assert (await world.told(request))[-1][1].endswith(words)
