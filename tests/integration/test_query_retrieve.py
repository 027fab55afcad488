"""C-FIND, C-MOVE and C-GET by real clients over a real PostgreSQL: what a recipient pulls, nobody else."""

import asyncio
import os
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)
from sqlalchemy import select, update
from tests.integration.portal_world import DIRECTORY, World, world
from tests.integration.test_dicomweb_reading import apply, shared, stored

from imex.db.tables import routing
from imex.dimse import StoreCommand, StoreResponse
from imex.events.commands import ViewReportedData
from imex.local.certificates import Certificates
from imex.local.ports import free_ports
from imex.portal.archive import Downloads
from imex.portal.query_retrieve import find, payloads, peer, retrieving
from imex.portal.query_retrieve.listener import DicomListener
from imex.portal.query_retrieve.settings import DicomSettings
from imex.testing.dicom import SyntheticStudy, synthetic_study
from imex.testing.dimse import DimseRecorder, acceptor
from imex.testing.peers import Orthanc, StoreScp

FIND = StudyRootQueryRetrieveInformationModelFind
MOVE = StudyRootQueryRetrieveInformationModelMove
GET = StudyRootQueryRetrieveInformationModelGet
EXPLICIT = "1.2.840.10008.1.2.1"
SUCCESS = "DIMSE Status                  : 0x0000"


def directory(port: int = 4243, **pacs: Any) -> str:
    """The world's, with senders for who pulls and the port of RT3's node."""
    made = yaml.safe_load(DIRECTORY)
    rqm, rt3, rxx = made["institutions"]
    rqm["senders"] = [{"ae_title": "RQM_PACS"}]
    rt3["senders"] = [{"ae_title": "RT3_PACS"}]
    rxx["senders"] = [{"ae_title": "RXX_PACS"}]
    rt3["endpoints"][0] |= {"port": port, **pacs}
    return str(yaml.safe_dump(made))


@pytest.fixture
async def portal(migrated_database_url: str) -> AsyncIterator[World]:
    async with world(migrated_database_url) as made:
        await apply(made, directory())
        yield made


@asynccontextmanager
async def listening(portal: World, **settings: Any) -> AsyncIterator[DicomListener]:
    listener = DicomListener(portal.portal, DicomSettings(host="127.0.0.1", **{"port": 0} | settings))
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


async def run(*command: str | Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


async def dcmtk(tool: str, listener: DicomListener, *options: str | Path, calling: str = "RT3_PACS") -> str:
    """What one of DCMTK's query tools says."""
    titles = ("-aet", calling, "-aec", "IMEX", "127.0.0.1", str(listener.port))
    _, said = await run(tool, "-d", "-S", *options, *titles)
    return said


def keys(*names: str) -> list[str]:
    return [part for name in names for part in ("-k", name)]


async def study_uids(listener: DicomListener, *names: str, calling: str = "RT3_PACS") -> list[str]:
    said = await dcmtk(
        "findscu",
        listener,
        *keys("QueryRetrieveLevel=STUDY", "StudyInstanceUID", *names),
        calling=calling,
    )
    assert SUCCESS in said, said
    responses = said.split("Response Identifiers:")[1:]
    found = [re.search(r"\(0020,000d\) UI \[([0-9.]+)", one) for one in responses]
    return [match[1] for match in found if match]


def ask(
    port: int, model: str, level: str, calling: str = "RT3_PACS", **identifier: Any
) -> list[tuple[int, str, Dataset | None, tuple[int | None, ...]]]:
    """Responses by pynetdicom: status, comment, identifier, counts; blocking."""
    entity = AE(ae_title=calling)
    entity.add_requested_context(model)
    roles: list[Any] = []
    if model == GET:
        entity.add_requested_context(CTImageStorage, [EXPLICIT])
        roles = [build_role(CTImageStorage, scp_role=True)]
    got: list[Dataset] = identifier.pop("got", [])
    answer = identifier.pop("answer", 0x0000)
    cancel_after = identifier.pop("cancel_after", None)
    destination = identifier.pop("to", "RT3_PACS")

    def keep(event: Any) -> int:
        got.append(event.dataset)
        return int(answer)

    asked = Dataset()
    asked.QueryRetrieveLevel = level
    for name, value in identifier.items():
        setattr(asked, name, value)
    handlers: list[Any] = [(evt.EVT_C_STORE, keep)]
    association = entity.associate("127.0.0.1", port, ae_title="IMEX", ext_neg=roles, evt_handlers=handlers)
    assert association.is_established
    try:
        if model == FIND:
            responses = association.send_c_find(asked, model, msg_id=9)
        elif model == MOVE:
            responses = association.send_c_move(asked, destination, model, msg_id=9)
        else:
            responses = association.send_c_get(asked, model, msg_id=9)
        heard = []
        for status, found in responses:
            counts = tuple(
                getattr(status, f"NumberOf{name}Suboperations", None)
                for name in ("Remaining", "Completed", "Failed", "Warning")
            )
            heard.append((int(status.Status), str(status.get("ErrorComment", "")), found, counts))
            if cancel_after is not None and len(heard) == cancel_after:
                association.send_c_cancel(9, query_model=model)
        return heard
    finally:
        association.release()


async def asked(listener: DicomListener, *arguments: Any, **identifier: Any) -> Any:
    return await asyncio.to_thread(ask, listener.port, *arguments, **identifier)


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
]


async def test_a_query_that_cannot_be_answered_is_refused_in_words(portal: World) -> None:
    async with listening(portal) as listener:
        for level, identifier, status, words in REFUSED:
            [(answered, comment, _, _)] = await asked(listener, FIND, level, **identifier)
            assert answered == status
            assert words in comment
        [(status, comment, _, _)] = await asked(listener, GET, "STUDY", PatientID="1")
        assert (status, "StudyInstanceUID" in comment) == (0xA900, True)


async def test_a_query_has_a_most_and_says_so(portal: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "MOST_STUDIES", 2)
    for _ in range(3):
        await stored(portal, synthetic_study(1, size=32))
    async with listening(portal) as listener:
        heard = await asked(listener, FIND, "STUDY", "RQM_PACS", StudyInstanceUID="")
        assert [status for status, *_ in heard] == [0xFF00, 0xFF00, 0xA700]
        assert heard[-1][1] == "only the first 2 matches: narrow the query"


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


@pytest.mark.parametrize("destination", ["RXX_PACS", "NOBODY"])
async def test_images_move_to_no_other_institutions_node(portal: World, destination: str) -> None:
    study = synthetic_study(1, size=32)
    await stored(portal, study)
    await shared(portal, study)
    async with listening(portal) as listener:
        [(status, comment, _, _)] = await asked(
            listener, MOVE, "STUDY", StudyInstanceUID=study.study_uid, to=destination
        )
    assert (status, comment) == (0xA801, "no DICOM endpoint of RT3 has this AE title")
    assert not [one for one in await portal.audited() if one.action == "instances_exported"]


async def test_a_node_that_is_down_or_takes_other_syntaxes_only_fails_with_a_reason(portal: World) -> None:
    study = synthetic_study(2, size=32)
    await stored(portal, study)
    await shared(portal, study)
    async with listening(portal) as listener:
        for accepts, words in (({}, "connection refused"), ({"sop_classes": ["1.2.3"]}, "takes none")):
            (port,) = free_ports(1)
            await apply(portal, directory(port, accepts=accepts))
            *_, (status, comment, _, counts) = await asked(
                listener, MOVE, "STUDY", StudyInstanceUID=study.study_uid
            )
            assert (status, counts) == (0xA702, (None, 0, 2, 0))
            assert words in comment


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


async def test_queries_and_retrievals_are_cancelled(portal: World) -> None:
    study = synthetic_study(40, size=16)
    await stored(portal, study)
    await shared(portal, study)
    async with listening(portal) as listener:
        got: list[Dataset] = []
        heard = await asked(listener, GET, "STUDY", StudyInstanceUID=study.study_uid, got=got, cancel_after=2)
        status, _, _, (remaining, completed, failed, _) = heard[-1]
        assert status == 0xFE00
        assert remaining + completed == 40
        assert (failed, completed < 40) == (0, True)
    broken = [one for one in await portal.audited() if one.outcome == "failure"]
    assert [(one.reason, one.counts) for one in broken] == [("broken off: cancelled", {"images": completed})]


async def test_a_long_query_is_cancelled(portal: World) -> None:
    for _ in range(30):
        await stored(portal, synthetic_study(1, size=16))
    async with listening(portal) as listener:
        heard = await asked(listener, FIND, "STUDY", "RQM_PACS", StudyID="", cancel_after=1)
    assert heard[-1][0] == 0xFE00
    assert len(heard) < 30


async def test_what_is_taken_back_meanwhile_goes_no_further(
    portal: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieving, "PAGE", 1)
    study = synthetic_study(3, size=16)
    await stored(portal, study)
    share = await shared(portal, study)
    recorder = DimseRecorder()

    async def revoked(command: StoreCommand) -> StoreResponse:
        async with portal.database.engine.begin() as connection:
            s = routing.shares
            await connection.execute(update(s).where(s.c.id == share).values(state="revoked"))
        return StoreResponse()

    recorder.on_commit = revoked
    async with acceptor(recorder) as node:
        await apply(portal, directory(node.port))
        async with listening(portal) as listener:
            heard = await asked(listener, MOVE, "STUDY", StudyInstanceUID=study.study_uid)
    assert len(recorder.stored) == 1
    assert heard[-1][:2] == (0xB000, "no longer shared")
    assert heard[-1][3] == (None, 1, 2, 0)


async def test_what_is_gone_or_damaged_fails_alone_and_large_images_are_streamed(
    portal: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payloads, "WHOLE_BYTES", 1000)
    study = synthetic_study(4, size=256)
    await stored(portal, study)
    await shared(portal, study)
    async with portal.database.engine.connect() as connection:
        i = routing.instances.c
        rows = await connection.execute(
            select(i.sop_instance_uid, i.object_key)
            .where(i.study_uid == study.study_uid)
            .order_by(i.sop_instance_uid)
        )
        gone, damaged = rows.all()[1:3]
    bad = {gone.sop_instance_uid, damaged.sop_instance_uid}
    await portal.store.delete(gone.object_key)
    content = bytearray(await portal.store.get(damaged.object_key))
    content[-1] ^= 1
    await portal.store.put(damaged.object_key, bytes(content))
    recorder = DimseRecorder()
    async with acceptor(recorder) as node:
        await apply(portal, directory(node.port))
        async with listening(portal) as listener:
            heard = await asked(listener, MOVE, "STUDY", StudyInstanceUID=study.study_uid)
            sound = next(iter(study.digests.keys() - bad))
            for uid, status in ((gone.sop_instance_uid, 0xA702), (sound, 0x0000)):
                named = {"StudyInstanceUID": study.study_uid, "SOPInstanceUID": uid}
                assert (await asked(listener, GET, "IMAGE", **named))[-1][0] == status
    assert {uid: one.sha256 for uid, one in recorder.stored.items()} == {
        uid: digest.removeprefix("sha256:") for uid, digest in study.digests.items() if uid not in bad
    }
    status, comment, failed, counts = heard[-1]
    assert (status, counts) == (0xB000, (None, 2, 2, 0))
    assert comment == "an image is not in the store any more"
    assert set(failed.FailedSOPInstanceUIDList) == bad


async def test_a_node_that_ends_its_association_is_connected_to_again(portal: World) -> None:
    study = synthetic_study(3, size=32)
    await stored(portal, study)
    await shared(portal, study)
    first = sorted(study.digests)[0]
    got: list[str] = []

    def keep(event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        if uid == first and not got:
            got.append("")
            event.assoc.abort()
        else:
            got.append(uid)
        return 0x0000

    entity = AE(ae_title="RT3_PACS")
    entity.add_supported_context(CTImageStorage, [EXPLICIT])
    handlers: list[Any] = [(evt.EVT_C_STORE, keep)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    await apply(portal, directory(server.server_address[1]))
    async with listening(portal) as listener:
        heard = await asked(listener, MOVE, "STUDY", StudyInstanceUID=study.study_uid)
    await asyncio.to_thread(server.shutdown)
    assert heard[-1][0] == 0xB000
    assert heard[-1][3] == (None, 2, 1, 0)
    assert got[1:] == sorted(study.digests)[1:]


async def test_an_institution_has_so_many_places(portal: World, monkeypatch: pytest.MonkeyPatch) -> None:
    study = synthetic_study(1, size=32)
    await stored(portal, study)
    await shared(portal, study)
    made = peer.Surroundings

    def crowded(*arguments: Any, **options: Any) -> peer.Surroundings:
        none = Downloads(total=1, each=0)
        return replace(made(*arguments, **options), searches=none, retrievals=none)

    monkeypatch.setattr("imex.portal.query_retrieve.listener.Surroundings", crowded)
    async with listening(portal) as listener:
        for model in (FIND, MOVE, GET):
            [(status, comment, _, _)] = await asked(
                listener, model, "STUDY", StudyInstanceUID=study.study_uid
            )
            assert status == 0xA700
            assert comment.startswith("out of resources: You have 0 of these under way already")


async def test_where_a_port_is_taken_the_portal_goes_on_and_says_so(portal: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with listening(portal, port=taken.getsockname()[1]) as listener:
            health = listener.health()
    assert (health.ready, health.live, "cannot listen" in health.detail) == (False, True, True)


async def test_strangers_are_rejected_and_audited(portal: World) -> None:
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


async def test_away_from_a_local_stack_an_address_has_to_vouch_for_an_ae_title(portal: World) -> None:
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


async def test_institutions_have_their_own_places_and_the_silent_harm_nobody(portal: World) -> None:
    study = synthetic_study(1, size=32)
    await stored(portal, study)
    await shared(portal, study)
    async with listening(portal, institution_associations=2) as listener:
        silent = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(20)]
        entity = AE(ae_title="RT3_PACS")
        entity.add_requested_context(Verification)
        held = [
            await asyncio.to_thread(entity.associate, "127.0.0.1", listener.port, ae_title="IMEX")
            for _ in range(3)
        ]
        assert [association.is_established for association in held] == [True, True, False]
        began = time.monotonic()
        assert await study_uids(listener, calling="RQM_PACS") == [study.study_uid]
        assert time.monotonic() - began < 5
        for association in held[:2]:
            await asyncio.to_thread(association.release)
        assert await study_uids(listener) == [study.study_uid]
    for connection in silent:
        connection.close()


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
