"""A recall on a running network: the PACS gets the note, and it is outstanding until acknowledged."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from pydicom import dcmread

from imex.dicom.rejection import About, Reference, write_note
from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network, reconciled
from imex.testing.peers import StoreScp, dcmsend

Receiving = Callable[[Institution], StoreScp]


def test_a_recall_arrives_and_waits_for_a_person(network: Network, receiving: Receiving) -> None:
    source, recipient = network.institution(), network.institution()
    network.agreement(source, recipient)
    network.rule(source, recipient)
    network.apply()
    receiver = receiving(recipient)
    study = synthetic_study(3, size=32)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    share = network.wait_share(study.study_uid, "delivered")

    body = {"why": "wrong-patient", "reason": "another person's order"}
    opened = network.post(f"/shares/{share['id']}/recall", body)
    assert opened.status_code == 201, opened.text
    correction = opened.json()
    assert (correction["code"], correction["whole"], correction["instances"]) == ("113038", True, 3)

    def state() -> str:
        (one,) = network.get(f"/corrections/{correction['id']}")["concerned"]
        return str(one["state"])

    network.wait_for(lambda: state() == "notified", 15, "the rejection note is confirmed")
    notes = [found for path in receiver.files if (found := dcmread(path, force=True)).get("Modality") == "KO"]
    (note,) = notes
    assert note.StudyInstanceUID == study.study_uid
    assert note.SOPInstanceUID == correction["note_sop_instance_uid"]
    assert note.ConceptNameCodeSequence[0].CodeValue == "113038"
    named = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in note.ContentSequence}
    assert named == set(study.digests)
    assert network.get(f"/shares/{share['id']}")["state"] == "revoked"
    assert len(network.get(f"/shares/{share['id']}/receipt")["instances"]) == 3

    listed = network.stack.imex("corrections", "list", "--outstanding", "--json")
    assert correction["id"] in [one["id"] for one in json.loads(listed.stdout)["items"]]
    done = network.stack.imex(
        "corrections", "acknowledge", correction["id"], "--for", recipient.code, "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["concerned"][0]["acknowledged_at"]
    listed = network.stack.imex("corrections", "list", "--outstanding", "--json")
    assert correction["id"] not in [one["id"] for one in json.loads(listed.stdout)["items"]]
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
    named = [Reference(first.SOPInstanceUID, first.SOPClassUID, first.SeriesInstanceUID)]
    note = write_note(about, "113001", named, note=uuid4(), series=uuid4(), at=datetime.now(UTC))
    path = tmp_path / "note.dcm"
    path.write_bytes(note.file())
    dcmsend(network.dicom_port, [path], source.ae_title)

    def states() -> list[str]:
        found = network.get("/corrections", share=share["id"])["items"]
        return [shared["state"] for one in found for shared in one["concerned"]]

    network.wait_for(lambda: states() == ["notified"], 20, "the note has reached the recipient")
    assert note.digest in receiver.held()
    assert "recalled" in network.steps(share)
