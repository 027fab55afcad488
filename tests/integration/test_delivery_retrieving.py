"""Studies that a request is about are fetched from the holder's archive: Orthanc, into a real ingest."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.schema import CreateSchema
from tests.integration.retrieving_world import Retrievals, directory
from tests.integration.test_ingest_flow import Rig, running

from imex.db import Database
from imex.db.tables import delivery as tables
from imex.delivery.retrieving.archive import Archive
from imex.delivery.retrieving.dimse import Bounds, DicomArchive
from imex.events.audit import AuditRecorded
from imex.events.catalog import TOPICS
from imex.events.instances import InstanceReceivedData
from imex.local.ports import free_ports
from imex.runtime.topics import ensure_topics
from imex.settings import KafkaSettings
from imex.testing.dicom import SyntheticStudy, nhs_number, synthetic_study
from imex.testing.parts import MinioPart
from imex.testing.peers import Orthanc
from imex.testing.runtime import until

PATIENT, ANOTHER = nhs_number(), nhs_number()


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


async def received(ingest: Rig, study: SyntheticStudy) -> list[InstanceReceivedData]:
    found = await ingest.events("instances.bulk", study.study_uid, len(study.instances), InstanceReceivedData)
    assert {one.sop_instance_uid: one.digest for one in found} == study.digests
    return found


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
        for one in await received(ingest, study):
            assert (one.source, one.calling_ae, one.retrieved) == ("RQM", "RQM_PACS", True)
    said = await world.told(request)
    assert said[-1] == ("complete", "2 studies found, 2 here, 8 images sent")
    assert PATIENT not in str(said) and other.study_uid not in str(await world.matched(request))
    audited = [one.data for one in await world.events() if isinstance(one, AuditRecorded)]
    assert [one.action for one in audited] == ["studies_queried", "studies_retrieved", "studies_retrieved"]
    assert {(one.source, one.recipient) for one in audited} == {("RQM", "RT3")}
    assert PATIENT not in "".join(one.model_dump_json() for one in audited)
