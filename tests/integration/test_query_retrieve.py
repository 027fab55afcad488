"""C-FIND, C-MOVE and C-GET by real clients over a real PostgreSQL: what a recipient pulls, nobody else."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Verification,
)
from sqlalchemy import update
from tests.integration.portal_world import World
from tests.integration.pull_world import (
    FIND,
    GET,
    MOVE,
    SUCCESS,
    asked,
    dcmtk,
    directory,
    emptied,
    keys,
    listening,
    run,
    study_uids,
)
from tests.integration.test_dicomweb_reading import apply, shared, stored

from imex.db.tables import routing
from imex.dimse import StoreResponse
from imex.events.commands import ViewReportedData
from imex.local.certificates import Certificates
from imex.local.ports import free_ports
from imex.testing.dicom import SyntheticStudy, synthetic_study
from imex.testing.dimse import DimseRecorder, acceptor
from imex.testing.peers import Orthanc, StoreScp


@pytest.fixture
async def portal(database_url_of_module: str) -> AsyncIterator[World]:
    async with emptied(database_url_of_module) as made:
        yield made


async def test_a_study_is_found_by_its_source_its_recipient_and_nobody_else(portal: World) -> None:
    study = synthetic_study(3, size=32)
    await stored(portal, study)
    async with listening(portal) as listener:
        assert await study_uids(listener, calling="RQM_PACS") == [study.study_uid]
        assert await study_uids(listener) == []
        share = await shared(portal, study)
        assert await study_uids(listener) == [study.study_uid]
        assert await study_uids(listener, calling="RXX_PACS") == []
        for state in ("revoked", "expired"):
            async with portal.database.engine.begin() as connection:
                s = routing.shares
                await connection.execute(update(s).where(s.c.id == share).values(state=state))
            assert await study_uids(listener) == []
            for model in (MOVE, GET):
                heard = await asked(listener, model, "STUDY", StudyInstanceUID=study.study_uid)
                assert [(status, counts) for status, _, _, counts in heard] == [(0, (None, 0, 0, 0))]
    listed = [one for one in await portal.audited() if one.action == "shares_listed"]
    by_recipient = [one for one in listed if one.study_uid and one.actor.institution == "RT3"]
    (one,) = by_recipient
    assert (one.share, one.details["list"], one.details["ae_title"]) == (share, "c-find", "RT3_PACS")


async def test_modalities_are_those_of_what_one_may_retrieve(portal: World) -> None:
    study = synthetic_study(2, size=32)
    await stored(portal, study, modalities=["CT", "US"])
    await shared(portal, study)
    i, uid = routing.instances.c, study.instances[1].sop_instance_uid
    async with portal.database.engine.begin() as connection:
        await connection.execute(
            update(routing.instances).where(i.sop_instance_uid == uid).values(modality="US")
        )
        si = routing.share_instances.c
        held_back = update(routing.share_instances).where(si.sop_instance_uid == uid).values(part=None)
        await connection.execute(held_back)
    async with listening(portal) as listener:
        for calling, told in (("RQM_PACS", "['CT', 'US']"), ("RT3_PACS", "CT")):
            for modality in ("CT", "US"):
                found = await study_uids(listener, f"ModalitiesInStudy={modality}", calling=calling)
                assert found == [study.study_uid] * (modality in told)
            [one, _] = await asked(
                listener, FIND, "STUDY", calling, ModalitiesInStudy="", StudyInstanceUID=""
            )
            assert str(one[2].ModalitiesInStudy) == told


async def test_what_is_asked_for_is_matched_and_told_at_each_level(portal: World) -> None:
    study, other = synthetic_study(3, size=32), synthetic_study(1, size=32)
    for each in (study, other):
        await stored(portal, each)
        await shared(portal, each)
    async with listening(portal) as listener:
        assert await study_uids(listener, f"AccessionNumber={study.accession}") == [study.study_uid]
        assert await study_uids(listener, "PatientName=testp*", f"PatientID={other.patient_id}") == [
            other.study_uid
        ]
        assert await study_uids(listener, "StudyDate=20200101-20200202") == []
        heard = await asked(
            listener,
            FIND,
            "STUDY",
            StudyInstanceUID=study.study_uid,
            PatientName="",
            StudyID="",
            NumberOfStudyRelatedInstances="",
            ReferringPhysicianName="",
        )
        assert [status for status, *_ in heard] == [0xFF00, 0]
        found = heard[0][2]
        assert str(found.PatientName) == "Testpatient^Avery"
        assert (found.NumberOfStudyRelatedInstances, found.RetrieveAETitle) == (3, "IMEX")
        assert found.QueryRetrieveLevel == "STUDY"
        assert "ReferringPhysicianName" in found
        assert "PatientID" not in found
        [series, last] = await asked(
            listener, FIND, "SERIES", StudyInstanceUID=study.study_uid, Modality="CT", SeriesNumber=""
        )
        assert (series[2].SeriesInstanceUID, last[0]) == (f"{study.study_uid}.7", 0)
        images = await asked(
            listener,
            FIND,
            "IMAGE",
            StudyInstanceUID=study.study_uid,
            SeriesInstanceUID=f"{study.study_uid}.7",
            InstanceNumber="",
            SOPInstanceUID="",
        )
        assert {one[2].SOPInstanceUID for one in images[:-1]} == set(study.digests)
        assert {int(one[2].InstanceNumber) for one in images[:-1]} == {1, 2, 3}
        ignored = await asked(listener, FIND, "STUDY", StudyInstanceUID=study.study_uid, StudyTime="10-11")
        assert [status for status, *_ in ignored] == [0xFF01, 0]


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("PATIENT", {"PatientID": "1"}, 0xA900, "Level"),
    ("SERIES", {"SeriesInstanceUID": ""}, 0xA900, "Study Instance UID is required"),
    ("STUDY", {"StudyDate": "yesterday"}, 0xA900, "YYYYMMDD"),
    ("STUDY", {"PatientID": "A\0B"}, 0xA900, "PatientID has a character that no text has"),
]


@pytest.mark.filterwarnings("ignore:The value for the data element")  # pydicom's, of the long list
async def test_a_query_that_cannot_be_answered_is_refused_in_words(portal: World) -> None:
    async with listening(portal) as listener:
        for level, identifier, status, words in REFUSED:
            [(answered, comment, _, _)] = await asked(listener, FIND, level, **identifier)
            assert answered == status
            assert words in comment
        [(status, comment, _, _)] = await asked(listener, GET, "STUDY", PatientID="1")
        assert (status, "StudyInstanceUID" in comment) == (0xA900, True)
        many = [f"1.2.826.0.1.3680043.8.498.{n:030}" for n in range(1500)]
        for model, status in ((FIND, 0xA700), (GET, 0xA701)):
            [(answered, comment, _, _)] = await asked(listener, model, "STUDY", StudyInstanceUID=many)
            assert (answered, comment) == (status, "the request's data set is too long")


async def test_images_move_to_the_callers_own_node_as_they_were_sent(portal: World, tmp_path: Path) -> None:
    study = synthetic_study(3, size=64)
    await stored(portal, study)
    share = await shared(portal, study)
    (port,) = free_ports(1)
    await apply(portal, directory(port))
    node = StoreScp("RT3_PACS", port, tmp_path / "node")
    node.start()
    try:
        async with listening(portal) as listener:
            said = await dcmtk(
                "movescu",
                listener,
                "-aem",
                "RT3_PACS",
                *keys("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study.study_uid}"),
            )
            assert SUCCESS in said, said
            assert re.search(r"Completed Suboperations\s*: 3", said), said
            assert node.held() == sorted(study.digests.values())
            measured = portal.portal.metrics.render().decode()
            counted = 'imex_portal_dicom_images_total{operation="c-move",outcome="completed"} 3.0'
            assert counted in measured
            assert 'imex_portal_dicom_operations_total{operation="c-move",status="0000"} 1.0' in measured
    finally:
        node.stop()
    exported = [one for one in await portal.audited() if one.action == "instances_exported"]
    assert [(one.share, one.counts, one.details["part"]) for one in exported] == [
        (share, {"images": 3}, "c-move")
    ]
    await _viewed(portal, share)


async def _viewed(portal: World, share: UUID) -> None:
    [viewed] = [
        event for event in await portal.outbox("commands") if isinstance(event.data, ViewReportedData)
    ]
    assert (viewed.data.share, viewed.data.actor) == (share, "AE title RT3_PACS")
    assert (viewed.data.how, viewed.data.actor_institution) == ("downloaded", "RT3")


async def test_sub_operations_name_who_asked_and_are_counted(portal: World) -> None:
    study = synthetic_study(4, size=32)
    await stored(portal, study)
    await shared(portal, study)
    uids = [instance.sop_instance_uid for instance in study.instances]
    order = sorted(uids)
    statuses = dict(zip(order, (0x0000, 0xB000, 0xA700, 0x0000), strict=True))
    recorder = DimseRecorder(
        on_store=lambda command: _only(statuses[command.sop_instance_uid]),
    )
    async with acceptor(recorder) as node:
        await apply(portal, directory(node.port))
        async with listening(portal) as listener:
            heard = await asked(listener, MOVE, "STUDY", StudyInstanceUID=study.study_uid)
    counts = [one[3] for one in heard]
    assert counts == [(3, 1, 0, 0), (2, 1, 0, 1), (1, 1, 1, 1), (0, 2, 1, 1), (None, 2, 1, 1)]
    status, comment, failed, _ = heard[-1]
    assert (status, comment) == (0xB000, "the node answered A700 out of resources")
    assert failed.FailedSOPInstanceUIDList == order[2]
    assert {(one.move_originator_ae, one.move_originator_message_id) for one in recorder.commands} == {
        ("RT3_PACS", 9)
    }
    assert recorder.requests[0].calling_ae == "IMEX"


def _only(status: int) -> StoreResponse | None:
    return StoreResponse(status) if status else None


async def test_images_move_to_no_other_institutions_node(portal: World) -> None:
    study = synthetic_study(1, size=32)
    await stored(portal, study)
    await shared(portal, study)
    async with listening(portal) as listener:
        for destination in ("RXX_PACS", "NOBODY"):
            [(status, comment, _, _)] = await asked(
                listener, MOVE, "STUDY", StudyInstanceUID=study.study_uid, to=destination
            )
            assert (status, comment) == (0xA801, "no DICOM endpoint of RT3 has this AE title")
    assert not [one for one in await portal.audited() if one.action == "instances_exported"]


async def test_images_come_back_on_the_association_that_asks(portal: World, tmp_path: Path) -> None:
    study = synthetic_study(3, size=64)
    await stored(portal, study)
    share = await shared(portal, study)
    async with listening(portal) as listener:
        said = await dcmtk(
            "getscu",
            listener,
            "-od",
            tmp_path,
            *keys("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study.study_uid}"),
        )
        assert SUCCESS in said, said
        assert len(os.listdir(tmp_path)) == 3  # noqa: PTH208  a directory's size
        got: list[Dataset] = []
        one = study.instances[1].sop_instance_uid
        heard = await asked(
            listener,
            GET,
            "IMAGE",
            StudyInstanceUID=study.study_uid,
            SeriesInstanceUID=f"{study.study_uid}.7",
            SOPInstanceUID=one,
            got=got,
        )
        assert [status for status, *_ in heard] == [0xFF00, 0]
        assert [dataset.SOPInstanceUID for dataset in got] == [one]
    assert share in {one.share for one in await portal.audited() if one.action == "instances_exported"}


async def test_implicit_vr_is_rewritten_for_who_takes_explicit_only(portal: World) -> None:
    study = synthetic_study(1, size=32, explicit=False)
    await stored(portal, study)
    await shared(portal, study)
    got: list[Dataset] = []
    async with listening(portal) as listener:
        heard = await asked(listener, GET, "STUDY", StudyInstanceUID=study.study_uid, got=got)
    assert heard[-1][0] == 0
    assert got[0].PatientID == study.patient_id


async def test_strangers_are_rejected_and_so_are_ae_titles_that_no_address_vouches_for(
    portal: World,
) -> None:
    async with listening(portal) as listener:
        for calling, called in (("NOBODY", "IMEX"), ("RT3_PACS", "OTHER")):
            entity = AE(ae_title=calling)
            entity.add_requested_context(FIND)
            association = await asyncio.to_thread(
                entity.associate, "127.0.0.1", listener.port, ae_title=called
            )
            assert association.is_rejected
    rejected = [one for one in await portal.audited() if one.action == "association_rejected"]
    assert [one.details["calling_ae"] for one in rejected] == ["NOBODY", "RT3_PACS"]
    # away from a local stack
    object.__setattr__(portal.portal.settings, "local", False)
    entity = AE(ae_title="RT3_PACS")
    entity.add_requested_context(Verification)
    async with listening(portal) as listener:
        for networks, established in ((None, False), (["10.0.0.0/8"], False), (["127.0.0.0/8"], True)):
            made = yaml.safe_load(directory())
            if networks:
                made["institutions"][1]["senders"] = [{"ae_title": "RT3_PACS", "networks": networks}]
            await apply(portal, yaml.safe_dump(made))
            association = await asyncio.to_thread(
                entity.associate, "127.0.0.1", listener.port, ae_title="IMEX"
            )
            assert association.is_established is established
            await asyncio.to_thread(association.release)


async def test_with_tls_the_certificate_decides(portal: World, tmp_path: Path) -> None:
    issued = Certificates(tmp_path)
    server = issued.server()
    issued.clients(["RT3", "RXX"])
    study = synthetic_study(1, size=32)
    await stored(portal, study)
    await shared(portal, study)
    settings = {
        "tls_port": 0,
        "port": None,
        "tls_certificate": server.certificate,
        "tls_key": server.key,
        "tls_ca": issued.ca,
    }
    async with listening(portal, **settings) as listener:
        for code, found in (("RT3", True), ("RXX", False)):
            pair = issued.client(code)
            status, said = await run(
                "findscu",
                *("-d", "-S", "+tls", pair.key, pair.certificate, "+cf", issued.ca),
                *("-aet", "RT3_PACS", "-aec", "IMEX"),
                *keys("QueryRetrieveLevel=STUDY", "StudyInstanceUID"),
                *("localhost", str(listener.tls_port)),
            )
            assert (study.study_uid in said) is found, said
            assert (status == 0) is found, said


async def test_orthanc_queries_and_retrieves(portal: World, tmp_path: Path) -> None:
    study = synthetic_study(3, size=64)
    await stored(portal, study)
    await shared(portal, study)
    port, http_port = free_ports(2)
    await apply(portal, directory(port))
    async with listening(portal) as listener:
        orthanc = Orthanc(
            "RT3_PACS", port, http_port, tmp_path / "orthanc", {"imex": ("IMEX", listener.port)}
        )
        await asyncio.to_thread(orthanc.start)
        try:
            held = await asyncio.to_thread(_pulled, orthanc, study)
        finally:
            await asyncio.to_thread(orthanc.stop)
    assert dict(held) == dict(study.digests)


def _pulled(orthanc: Orthanc, study: SyntheticStudy) -> Any:
    query = {"Level": "Study", "Query": {"AccessionNumber": study.accession}}
    asked = orthanc.post("/modalities/imex/query", query)
    answers = orthanc.get(f"{asked['Path']}/answers")
    assert len(answers) == 1
    orthanc.post(f"{asked['Path']}/answers/0/retrieve", {"TargetAet": "RT3_PACS", "Synchronous": True})
    return orthanc.held(study.study_uid)
