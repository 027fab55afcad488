"""A study goes to inboxes: it is accepted, read, taken back; and one that gets it de-identified."""

import io
import zipfile
from pathlib import Path
from typing import Any

import httpx2
from pydicom.fileset import FileSet

from imex.dicom import dataset_digest
from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network
from imex.testing.peers import dcmsend


def test_an_inbox_is_accepted_read_and_taken_back(network: Network, tmp_path: Path) -> None:
    source = network.institution()
    desk, project = (network.institution(endpoint=False, sender=False) for _ in range(2))
    desk.entry["endpoints"] = [{"name": "inbox", "type": "inbox", "acceptance": True}]
    project.entry["endpoints"] = [{"name": "inbox", "type": "inbox"}]
    network.agreement(source, desk)
    network.agreement(source, project, deidentify={"project": f"p-{project.code}"})
    network.rule(source, desk, project)
    network.apply()
    study = synthetic_study(6, size=32, patient_name="OKONKWO^CHIDI")
    dcmsend(network.dicom_port, network.files(study), source.ae_title)

    network.wait_share(study.study_uid, "delivered", recipient=project.code)
    share = network.wait_share(study.study_uid, "requested", recipient=desk.code)
    assert network.get("/deliveries", share=share["id"])["items"] == []
    assert archive(network, share, desk).status_code == 409
    [waiting] = network.get("/inbox", token=desk.code, standing="waiting")["items"]
    assert (waiting["id"], waiting["images"]) == (share["id"], 6)
    assert network.post(f"/shares/{share['id']}/accept", token=source.code).status_code == 403
    assert network.post(f"/shares/{share['id']}/accept", token=desk.code).status_code == 200
    network.wait_share(study.study_uid, "delivered", recipient=desk.code)
    receipt = network.get(f"/shares/{share['id']}/receipt", token=desk.code)
    assert receipt["complete"] is True
    assert {one["sop_instance_uid"]: one["digest"] for one in receipt["instances"]} == study.digests

    assert read(archive(network, share, desk), tmp_path / "desk") == sorted(study.digests.values())
    network.wait_for(lambda: "viewed" in network.steps(share), 15, "the view is a step")
    viewed = [event for event in events(network, source) if event["type"] == "imex.share.viewed"]
    assert [(one["data"]["by"], one["data"]["how"]) for one in viewed] == [(desk.code, "downloaded")]

    hidden = network.wait_share(study.study_uid, "delivered", recipient=project.code)
    answer = archive(network, hidden, project)
    given = network.get(f"/shares/{hidden['id']}/instances", token=project.code)["items"]
    assert read(answer, tmp_path / "project") == sorted(one["digest"] for one in given)
    for secret in ("OKONKWO", study.study_uid, *study.digests):
        assert secret.encode() not in answer.content

    assert network.post(f"/shares/{share['id']}/revoke", token=source.code).status_code == 200
    gone = archive(network, share, desk)
    assert (gone.status_code, "taken back" in gone.json()["detail"]) == (410, True)
    assert network.get("/inbox", token=desk.code)["items"] == []


def archive(network: Network, share: dict[str, Any], reader: Institution) -> httpx2.Response:
    described = network.stack.described
    return httpx2.get(
        f"{described['api']}/shares/{share['id']}/archive",
        headers={"Authorization": f"Bearer {described['tokens'][reader.code]}"},
        timeout=60,
        trust_env=False,
    )


def read(answer: httpx2.Response, folder: Path) -> list[str]:
    """The digests of the files of an archive that DICOMDIR leads to."""
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        packed.extractall(folder)
    return sorted(dataset_digest(Path(one.path).read_bytes()) for one in FileSet(folder / "DICOMDIR"))


def events(network: Network, institution: Institution) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = None
    while True:
        page = network.get(
            "/events", token=institution.code, limit=1000, **({"after": after} if after else {})
        )
        if not page["items"]:
            return found
        found += page["items"]
        after = page["next"]
