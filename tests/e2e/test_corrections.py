"""A recall on a running network: the PACS gets the note, and it is outstanding until acknowledged."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from pydicom import Dataset, dcmread

from imex.dicom.rejection import About, Reference, write_note
from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network, reconciled
from imex.testing.peers import StoreScp, dcmsend
from imex.testing.stow import StowServer, stow_server

Receiving = Callable[[Institution], StoreScp]


@pytest.fixture
def archive() -> Iterator[StowServer]:
    """A DICOMweb server beside the test."""
    server, loop = StowServer(), asyncio.new_event_loop()
    ready, over = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with stow_server(server):
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield server
    loop.call_soon_threadsafe(over.set)
    thread.join(15)
    loop.close()


def notes(receiver: StoreScp) -> list[Dataset]:
    """The key object selections that have come."""
    found = [dcmread(path, force=True) for path in receiver.files]
    return [one for one in found if one.get("Modality") == "KO"]


def named(note: Dataset) -> set[str]:
    """The instances that a note rejects."""
    return {str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for item in note.ContentSequence}


def test_a_recall_arrives_and_waits_for_a_person(
    network: Network, receiving: Receiving, archive: StowServer
) -> None:
    """At a recipient of each kind: DICOM, de-identified, DICOMweb, inbox."""
    source, pacs, project, web, desk = (network.institution() for _ in range(5))
    web.entry["endpoints"] = [{"name": "web", "type": "dicomweb", "url": archive.base}]
    desk.entry["endpoints"] = [{"name": "inbox", "type": "inbox"}]
    for recipient in (pacs, web, desk):
        network.agreement(source, recipient)
    network.agreement(source, project, deidentify={"project": f"p-{project.code}"})
    network.rule(source, pacs, project, web, desk)
    network.apply()
    receiver, anonymous = receiving(pacs), receiving(project)
    study = synthetic_study(3, size=32)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    network.wait_for(
        lambda: [one["state"] for one in network.shares(study.study_uid)] == ["delivered"] * 4,
        30,
        "delivered",
    )
    shares = {one["recipient"]: one for one in network.shares(study.study_uid)}
    share = shares[pacs.code]

    body = {"why": "wrong-patient", "reason": "another person's order"}
    opened = network.post(f"/shares/{share['id']}/recall", body)
    assert opened.status_code == 201, opened.text
    correction = opened.json()
    assert (correction["code"], correction["whole"], correction["instances"]) == ("113038", True, 3)
    path = f"/corrections/{correction['id']}"

    def states() -> dict[str, str]:
        return {one["recipient"]: one["state"] for one in network.get(path)["concerned"]}

    wanted = {pacs.code: "notified", project.code: "notified", web.code: "notified", desk.code: "told"}
    network.wait_for(lambda: states() == wanted, 20, "the rejection notes are confirmed")
    (note,) = notes(receiver)
    assert note.StudyInstanceUID == study.study_uid
    assert note.SOPInstanceUID == correction["note_sop_instance_uid"]
    assert note.ConceptNameCodeSequence[0].CodeValue == "113038"
    assert named(note) == set(study.digests)
    given = {str(dcmread(one, force=True).SOPInstanceUID) for one in anonymous.files}
    (veiled,) = notes(anonymous)
    assert named(veiled) == given - {str(veiled.SOPInstanceUID)}
    assert not given & set(study.digests)
    assert correction["note_sop_instance_uid"] in archive.stored
    assert network.get("/inbox", token=desk.code)["items"] == []
    assert network.get(path, token=project.code)["study_uid"] == veiled.StudyInstanceUID
    assert network.get(f"/shares/{share['id']}")["state"] == "revoked"
    assert len(network.get(f"/shares/{share['id']}/receipt")["instances"]) == 3

    def outstanding(recipient: Institution) -> bool:
        items = network.get("/corrections", token=recipient.code, outstanding="true")["items"]
        return correction["id"] in [one["id"] for one in items]

    assert all(outstanding(one) for one in (pacs, project, web, desk))
    words = ("corrections", "acknowledge", correction["id"], "--for", pacs.code)
    done = network.stack.imex(*words, "--json")
    assert done.returncode == 0, done.stderr
    seen = network.post(f"{path}/acknowledge", {"remark": "deleted"}, token=desk.code)
    assert seen.status_code == 200, seen.text
    assert [outstanding(one) for one in (pacs, project, web, desk)] == [False, True, True, False]
    listed = network.stack.imex("corrections", "list", "--outstanding", "--json")
    assert correction["id"] in [one["id"] for one in json.loads(listed.stdout)["items"]]
    assert {"recalled", "recall_notified", "correction_acknowledged"} <= set(network.steps(share))
    assert reconciled(network)["balanced"]


def test_a_person_is_erased_and_the_audit_trail_still_verifies(
    network: Network, receiving: Receiving
) -> None:
    source, recipient, forensic = (network.institution() for _ in range(3))
    network.agreement(source, recipient)
    network.agreement(source, forensic, purposes=["forensic"])
    network.rule(source, recipient)
    network.apply()
    receiving(recipient), receiving(forensic)
    identifier = f"P{source.code}"
    gone, held = (synthetic_study(2, size=32, patient_id=identifier, issuer="") for _ in range(2))
    for study in (gone, held):
        dcmsend(network.dicom_port, network.files(study), source.ae_title)
        network.wait_share(study.study_uid, "delivered")
    body = {"study_uid": held.study_uid, "source": source.code, "recipient": forensic.code}
    assert network.post("/shares", {**body, "purpose": "forensic"}).status_code == 201
    network.wait_for(
        lambda: {one["state"] for one in network.shares(held.study_uid)} == {"delivered"}, 20, "evidence"
    )

    asked = network.post("/subjects/report", {"issuer": source.code, "patient_id": identifier})
    assert asked.status_code == 200, asked.text
    report = asked.json()
    found = {one["place"]: one["found"] for one in report["places"]}
    assert (report["studies"], found["routing.studies"], found["the object store"]) == (2, 2, 4)
    assert identifier not in asked.text

    erased = network.post(f"/subjects/{report['id']}/erase", {"reason": "request 17"})
    assert erased.status_code == 200, erased.text
    places = {one["place"]: one for one in erased.json()["places"]}
    assert (places["the object store"]["done"], places["the object store"]["kept"]) == (2, 2)
    assert "forensic" in places["routing.studies"]["why"]
    network.wait_for(
        lambda: network.get("/reconcile")["balanced"], 30, "what was acknowledged is accounted for"
    )
    assert network.post(f"/subjects/{report['id']}/erase", {"reason": "twice"}).status_code == 404
    again = network.post("/subjects/report", {"issuer": source.code, "patient_id": identifier}).json()
    assert again["studies"] == 1, "the one that is held"
    verified = network.stack.imex("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_senders_own_note_travels_and_takes_back(
    network: Network, receiving: Receiving, tmp_path: Path
) -> None:
    source, recipient = network.institution(), network.institution()
    network.agreement(source, recipient)
    network.rule(source, recipient)
    network.apply()
    receiver = receiving(recipient)
    study = synthetic_study(2, size=32)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    share = network.wait_share(study.study_uid, "delivered")
    first = dcmread(receiver.files[0], force=True)
    about = About(study.study_uid, first.PatientID, first.IssuerOfPatientID, str(first.PatientName))
    about = replace(about, birth_date=first.PatientBirthDate)
    rejected = [Reference(first.SOPInstanceUID, first.SOPClassUID, first.SeriesInstanceUID)]
    note = write_note(about, "113001", rejected, note=uuid4(), series=uuid4(), at=datetime.now(UTC))
    path = tmp_path / "note.dcm"
    path.write_bytes(note.file())
    dcmsend(network.dicom_port, [path], source.ae_title)

    def states() -> list[str]:
        found = network.get("/corrections", share=share["id"])["items"]
        return [shared["state"] for one in found for shared in one["concerned"]]

    network.wait_for(lambda: states() == ["notified"], 20, "the note has reached the recipient")
    assert note.digest in receiver.held()
    assert "recalled" in network.steps(share)
