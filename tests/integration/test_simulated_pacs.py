"""The simulated PACS as other implementations meet it: pynetdicom, DCMTK and a web client."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from imex.dicom.specimen import SECONDARY_CAPTURE, Specimen, specimen
from imex.dimse import (
    AssociationAborted,
    AssociationRejected,
    ConnectionLost,
    DimseError,
    Limits,
    ProtocolError,
    connect,
)
from imex.local.programs import dcmtk
from imex.simulation.options import Options
from imex.simulation.pacs import SimulatedPacs, simulated_pacs
from imex.simulation.sender import Sending, send, study_of_nobody

EXPLICIT = "1.2.840.10008.1.2.1"
QUICK = Limits(connect_s=2, associate_s=1, response_s=1, release_s=1)


def contents(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.iterdir())


async def stored(pacs: SimulatedPacs, study: Specimen) -> list[int]:
    contexts = [(SECONDARY_CAPTURE, (EXPLICIT,))]
    statuses = []
    async with connect("127.0.0.1", pacs.port, "TESTER", "SIMULATED", contexts, QUICK) as association:
        for one in study.instances:
            answer = await association.store(
                one.sop_class_uid,
                one.sop_instance_uid,
                one.transfer_syntax,
                memoryview(one.dataset),
                len(one.dataset),
            )
            statuses.append(answer.status)
    return statuses


def asked(port: int, level: str, **keys: str) -> list[Dataset]:
    """C-FIND by pynetdicom. Blocks."""
    entity: Any = AE("TESTER")
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association = entity.associate("127.0.0.1", port, ae_title="SIMULATED")
    assert association.is_established
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientName"):
        setattr(identifier, keyword, keys.get(keyword, ""))
    if level == "STUDY":
        identifier.NumberOfStudyRelatedInstances = None
    answers = association.send_c_find(identifier, StudyRootQueryRetrieveInformationModelFind)
    found = [match for status, match in answers if status.Status == 0xFF00]
    association.release()
    return found


def committed(port: int, study: Specimen) -> Dataset:
    """Storage commitment on one association, as N-ACTION and N-EVENT-REPORT. Blocks."""
    got: list[Dataset] = []

    def reported(event: Any) -> tuple[int, None]:
        got.append(event.event_information)
        return 0, None

    entity: Any = AE("TESTER")
    entity.add_requested_context(StorageCommitmentPushModel)
    association = entity.associate(
        "127.0.0.1", port, ae_title="SIMULATED", evt_handlers=[(evt.EVT_N_EVENT_REPORT, reported)]
    )
    assert association.is_established
    request = Dataset()
    request.TransactionUID = "2.25.1"
    request.ReferencedSOPSequence = []
    for one in study.instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class_uid, one.sop_instance_uid
        request.ReferencedSOPSequence.append(item)
    status, _ = association.send_n_action(request, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
    assert status.Status == 0
    until_reported(got)
    association.release()
    return got[0]


def until_reported(got: list[Dataset]) -> None:
    deadline = time.monotonic() + 10
    while not got:
        assert time.monotonic() < deadline, "storage commitment was not reported"
        time.sleep(0.02)


async def test_it_stores_echoes_finds_and_commits_when_nothing_is_asked_of_it(tmp_path: Path) -> None:
    study = specimen(3)
    async with simulated_pacs(options=Options(store=tmp_path)) as pacs:
        echo = await asyncio.create_subprocess_exec(
            str(dcmtk("echoscu")), "-aec", "SIMULATED", "127.0.0.1", str(pacs.port)
        )
        assert await echo.wait() == 0
        assert await stored(pacs, study) == [0, 0, 0]
        [found] = await asyncio.to_thread(asked, pacs.port, "STUDY", StudyInstanceUID=study.study_uid)
        assert found.NumberOfStudyRelatedInstances == 3
        images = await asyncio.to_thread(asked, pacs.port, "IMAGE", StudyInstanceUID=study.study_uid)
        assert {one.SOPInstanceUID for one in images} == {one.sop_instance_uid for one in study.instances}
        assert len(await asyncio.to_thread(asked, pacs.port, "SERIES", PatientName="ZZZTEST*")) == 1
        assert await asyncio.to_thread(asked, pacs.port, "STUDY", StudyInstanceUID="2.25.9") == []
        result = await asyncio.to_thread(committed, pacs.port, study)
        assert len(result.ReferencedSOPSequence) == 3
        assert "FailedSOPSequence" not in result
    assert pacs.shelf.held == {one.sop_instance_uid: one.digest for one in study.instances}
    assert contents(tmp_path) == sorted(one.file() for one in study.instances)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        ("reject-transient", AssociationRejected),
        ("reject-limit", AssociationRejected),
        ("reject-permanent", AssociationRejected),
        ("stall-accept", DimseError),
        ("abort-mid-data", AssociationAborted),
        ("abort-after-data", AssociationAborted),
        ("close-after-data", ConnectionLost),
        ("stall-data", DimseError),
        ("stall-response", DimseError),
        ("slow-response", DimseError),
        ("wrong-message", DimseError),
        ("wrong-instance", ProtocolError),
    ],
)
async def test_what_ends_an_association(failure: str, error: type[DimseError]) -> None:
    async with simulated_pacs(failure) as pacs:
        with pytest.raises(error):
            await stored(pacs, specimen(1))
    kept = {"abort-after-data", "close-after-data", "stall-response", "slow-response"} | {
        "wrong-message",
        "wrong-instance",
    }
    assert len(pacs.shelf.held) == (1 if failure in kept else 0)


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        ("status-a700", 0xA700),
        ("status-0110", 0x0110),
        ("status-0122", 0x0122),
        ("status-a900", 0xA900),
        ("status-c000", 0xC000),
        ("status-b000", 0xB000),
    ],
)
async def test_what_is_answered_with_a_status(failure: str, status: int) -> None:
    async with simulated_pacs(failure, after=1, times=1) as pacs:
        assert await stored(pacs, specimen(3)) == [0, status, 0]
    assert len(pacs.shelf.held) == (3 if failure == "status-b000" else 2)


async def test_what_it_loses_it_neither_finds_nor_commits() -> None:
    study = specimen(2)
    async with simulated_pacs("lose", after=1) as pacs:
        assert await stored(pacs, study) == [0, 0]
        result = await asyncio.to_thread(committed, pacs.port, study)
    [missing] = result.FailedSOPSequence
    assert missing.ReferencedSOPInstanceUID == study.instances[1].sop_instance_uid
    assert pacs.shelf.tallies[study.instances[1].sop_instance_uid].received == 1
    assert set(pacs.shelf.held) == {study.instances[0].sop_instance_uid}


async def test_late_instances_wrong_identifiers_and_second_copies_show_in_queries() -> None:
    study = specimen(1)
    async with simulated_pacs("late", options=Options(delay_s=0.5)) as pacs:

        async def query() -> list[Dataset]:
            return await asyncio.to_thread(asked, pacs.port, "IMAGE", StudyInstanceUID=study.study_uid)

        await stored(pacs, study)
        assert await query() == []
        async with asyncio.timeout(5):
            while not await query():
                pass
        pacs.behave("duplicate")
        pacs.shelf.forget()
        await stored(pacs, study)
        assert len(await query()) == 2
        pacs.behave("wrong-identifiers")
        pacs.shelf.forget()
        await stored(pacs, study)
        assert await query() == []
        uid = study.instances[0].sop_instance_uid
        assert len(await asyncio.to_thread(asked, pacs.port, "IMAGE", SOPInstanceUID=uid)) == 1


async def test_it_reads_slowly() -> None:
    async with simulated_pacs("slow-reader", options=Options(rate=100_000)) as pacs:
        begun = asyncio.get_running_loop().time()
        await stored(pacs, specimen(1))
        assert asyncio.get_running_loop().time() - begun > 0.5  # 66 kB


async def test_commitment_is_reported_where_it_is_asked_to_be() -> None:
    got: list[Dataset] = []

    def reported(event: Any) -> tuple[int, None]:
        got.append(event.event_information)
        return 0, None

    listener: Any = AE("TESTER")
    listener.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    listener.add_supported_context(Verification)
    server = listener.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, reported)]
    )
    try:
        study = specimen(1)
        options = Options(commit_to=("TESTER", "127.0.0.1", server.server_address[1]))
        async with simulated_pacs(options=options) as pacs:
            await stored(pacs, study)
            task = asyncio.create_task(asyncio.to_thread(_asks_for_commitment, pacs.port, study))
            await task
            await asyncio.to_thread(until_reported, got)
    finally:
        server.shutdown()
    assert got[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == study.instances[0].sop_instance_uid


def _asks_for_commitment(port: int, study: Specimen) -> None:
    entity: Any = AE("TESTER")
    entity.add_requested_context(StorageCommitmentPushModel)
    association = entity.associate("127.0.0.1", port, ae_title="SIMULATED")
    request = Dataset()
    request.TransactionUID = "2.25.1"
    item = Dataset()
    item.ReferencedSOPClassUID = study.instances[0].sop_class_uid
    item.ReferencedSOPInstanceUID = study.instances[0].sop_instance_uid
    request.ReferencedSOPSequence = [item]
    association.send_n_action(request, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
    association.release()


def stow_body(study: Specimen) -> tuple[bytes, dict[str, str]]:
    parts = b"".join(
        b"--B\r\nContent-Type: application/dicom\r\n\r\n" + one.file() + b"\r\n" for one in study.instances
    )
    return parts + b"--B--\r\n", {
        "Content-Type": 'multipart/related; type="application/dicom"; boundary=B',
        "Accept": "application/dicom+json",
    }


async def stow(pacs: SimulatedPacs, study: Specimen) -> tuple[int, Any, dict[str, str]]:
    body, headers = stow_body(study)
    timeout = aiohttp.ClientTimeout(total=1)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"{pacs.url}/studies", data=body, headers=headers) as answer,
    ):
        text = await answer.text()
        parsed = json.loads(text) if answer.content_type.endswith("json") and text else text
        return answer.status, parsed, dict(answer.headers)


async def qido(pacs: SimulatedPacs, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{pacs.url}/{path}") as answer:
        return json.loads(await answer.text()) if answer.status == 200 else answer.status


WEB = Options(type="dicomweb", delay_s=5.0, retry_after_s=7)


async def test_a_web_pacs_stores_and_is_queried() -> None:
    study = specimen(2)
    async with simulated_pacs(options=WEB) as pacs:
        status, answer, _ = await stow(pacs, study)
        assert status == 200
        assert len(answer["00081199"]["Value"]) == 2
        found = await qido(pacs, f"studies?StudyInstanceUID={study.study_uid}")
        assert found[0]["00201208"]["Value"] == [2]
        images = await qido(pacs, f"studies/{study.study_uid}/instances?limit=1&offset=1")
        assert len(images) == 1
        assert await qido(pacs, "studies?00100020=NOBODY") == 204
    assert pacs.shelf.held == {one.sop_instance_uid: one.digest for one in study.instances}


@pytest.mark.parametrize(
    ("failure", "status", "held"),
    [
        ("unauthorised", 401, 0),
        ("forbidden", 403, 0),
        ("conflict", 409, 0),
        ("too-large", 413, 0),
        ("unsupported", 415, 0),
        ("too-many", 429, 0),
        ("error-500", 500, 0),
        ("unavailable", 503, 0),
        ("some-failed", 202, 0),
        ("empty-answer", 200, 2),
        ("lose", 200, 0),
        ("wrong-instance", 200, 2),
        ("duplicate", 200, 4),
    ],
)
async def test_what_a_web_pacs_answers(failure: str, status: int, held: int) -> None:
    async with simulated_pacs(failure, options=WEB) as pacs:
        got, answer, headers = await stow(pacs, specimen(2))
    assert got == status
    assert len(pacs.shelf.held) == held
    if status in {429, 503}:
        assert headers["Retry-After"] == "7"
    if failure == "some-failed":
        assert len(answer["00081198"]["Value"]) == 2
    if failure == "empty-answer":
        assert answer == ""


@pytest.mark.parametrize("failure", ["stall-accept", "stall-data", "stall-response", "close-after-data"])
async def test_a_web_pacs_that_does_not_answer(failure: str) -> None:
    async with simulated_pacs(failure, options=WEB) as pacs:
        with pytest.raises((aiohttp.ClientError, TimeoutError)):
            await stow(pacs, specimen(1))
    assert len(pacs.shelf.held) == (1 if failure in {"stall-response", "close-after-data"} else 0)


async def test_it_tells_what_it_received_and_is_told_how_to_misbehave() -> None:
    study = specimen(1)
    uid = study.instances[0].sop_instance_uid
    async with simulated_pacs(options=Options(api_port=0)) as pacs, aiohttp.ClientSession() as session:
        base = f"http://127.0.0.1:{pacs.api_port}"
        async with session.put(f"{base}/failures", json={"failures": ["lose"], "times": 1}) as answer:
            assert (await answer.json())["failures"] == ["lose"]
        await stored(pacs, study)
        await stored(pacs, study)
        async with session.get(base) as answer:
            told = await answer.json()
        assert told["struck"] == {"lose": 1}
        assert told["associations"] == {"accepted": 2}
        assert told["instances"][uid] == {
            "received": 2,
            "kept": 1,
            "held": True,
            "digests": [study.instances[0].digest],
            "answers": {"0000 success": 2},
        }
        async with session.put(f"{base}/failures", json={"failures": ["nonsense"]}) as answer:
            assert answer.status == 422


@pytest.mark.parametrize(
    ("failure", "held", "told"),
    [
        ("send-twice", 4, ["0000 success"] * 8),
        ("abort-association", 2, ["0000 success"] * 2 + ["not sent: the association was aborted, as told"]),
        ("abort-mid-data", 3, ["0000 success"] * 3 + ["not sent whole: aborted in the middle, as told"]),
        ("late-instances", 4, ["0000 success"] * 4),
        ("wrong-identifiers", 4, ["0000 success"] * 4),
    ],
)
async def test_the_simulated_sender(failure: str, held: int, told: list[str]) -> None:
    failures = frozenset({failure})
    async with simulated_pacs() as pacs:
        how = Sending(
            host="127.0.0.1",
            port=pacs.port,
            calling_ae="A",
            called_ae="SIMULATED",
            failures=failures,
            delay_s=0.1,
        )
        answers = [one.answer async for one in send(study_of_nobody(4, failures), how)]
    assert answers == told
    assert len(pacs.shelf.held) == held
    people = {str(one.PatientID) for one in pacs.shelf.visible()}
    assert len(people) == (2 if failure == "wrong-identifiers" else 1)


def test_the_command_lists_and_refuses(run_imex: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    listed = json.loads(run_imex("simulate", "pacs", "--list", "--json").stdout)
    assert {"name", "does", "sender"} == set(listed[0])
    refused = run_imex("simulate", "pacs", "--failure", "nonsense")
    assert refused.returncode == 1
    assert "imex simulate pacs --list" in refused.stderr


@pytest.fixture
def run_imex() -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "imex.cli.main", *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run
