"""One institution asks another for studies, on a running network."""

import json
from collections.abc import Callable
from pathlib import Path

from imex.local.ports import free_ports
from imex.testing.dicom import SyntheticStudy, synthetic_study
from imex.testing.network import Institution, Network
from imex.testing.peers import Orthanc, StoreScp, dcmsend


def test_a_request_is_granted_and_answered_with_the_study(
    network: Network, receiving: Callable[[Institution], StoreScp]
) -> None:
    holder, requester = network.institution(), network.institution()
    network.agreement(holder, requester)
    network.apply()
    receiver = receiving(requester)
    study = synthetic_study(3, size=32)
    dcmsend(network.dicom_port, network.files(study), holder.ae_title)
    network.wait_for(
        lambda: [one for one in network.get("/studies")["items"] if one["study_uid"] == study.study_uid],
        30,
        "the study is there, and nothing addresses it",
    )
    asked = network.post(
        "/requests",
        {
            "holder": holder.code,
            "issuer": "NHS",
            "patient_id": study.patient_id,
            "modality": "CT",
            "reason": "clinic on Monday",
        },
        token=requester.code,
    )
    assert asked.status_code == 201, asked.text
    request = asked.json()
    assert (request["state"], request["shares"]) == ("open", [])
    assert network.post(f"/requests/{request['id']}/grant", {}, token=requester.code).status_code == 403
    [waiting] = network.get("/requests", token=holder.code, state="open")["items"]
    assert study.patient_id not in json.dumps(waiting)
    shown = network.get(f"/requests/{waiting['id']}", token=holder.code)
    assert shown["wanted"]["patient_id"] == study.patient_id
    done = network.stack.imex("requests", "grant", waiting["id"], "--reason", "as asked", "--json")
    assert done.returncode == 0, done.stderr
    granted = json.loads(done.stdout)
    assert (granted["state"], granted["wanted"]) == ("granted", None)
    share = network.wait_share(study.study_uid, "delivered")
    assert granted["shares"] == [share["id"]]
    assert receiver.held() == sorted(study.digests.values())
    assert network.get(f"/requests/{request['id']}", token=requester.code)["shares"] == [share["id"]]
    assert "request_granted" in network.steps(share)
    stranger = network.institution()
    network.apply()
    assert network.get("/requests", token=stranger.code)["items"] == []


def test_requests_are_answered_from_the_holders_own_archive(
    network: Network, receiving: Callable[[Institution], StoreScp], tmp_path: Path
) -> None:
    """One archive is asked in two ways, as two holders have it: C-FIND and C-MOVE, QIDO-RS and WADO-RS."""
    by_dimse, by_web = network.institution(), network.institution()
    requester, third = network.institution(), network.institution()
    (http_port,) = free_ports(1)
    known = {"imex": ("IMEX", network.dicom_port)}
    orthanc = Orthanc(by_dimse.ae_title, by_dimse.port, http_port, tmp_path / "orthanc", known, dicomweb=True)
    by_dimse.entry["endpoints"][0] |= {"query": True}
    by_web.entry["endpoints"] = [
        {"name": "archive", "type": "dicomweb", "url": orthanc.dicomweb, "query": True}
    ]
    for holder in (by_dimse, by_web):
        network.agreement(holder, requester, requests="automatic")
        network.agreement(holder, third)
        network.rule(holder, third)
    network.apply()
    receiver = receiving(requester)
    studies = {by_dimse.code: synthetic_study(3, size=32), by_web.code: synthetic_study(2, size=32)}
    orthanc.start()
    try:
        for study in studies.values():
            orthanc.load(network.files(study))
        requests = {code: asked(network, code, requester, study) for code, study in studies.items()}
        shares = {code: network.wait_share(study.study_uid, "delivered") for code, study in studies.items()}

        def looked() -> bool:
            looks = [network.get(f"/requests/{request}", token=code) for code, request in requests.items()]
            return all(one["retrieval"] == "complete" for one in looks)

        network.wait_for(looked, 10, "the retrievals are complete")
    finally:
        orthanc.stop()
    everything = [digest for study in studies.values() for digest in study.digests.values()]
    assert receiver.held() == sorted(everything)
    for code, study in studies.items():
        share, request = shares[code], requests[code]
        assert (share["source"], share["recipient"]) == (code, requester.code)
        told = network.get(f"/requests/{request}", token=requester.code)
        assert (told["state"], told["shares"], told["retrieval"]) == ("granted", [share["id"]], None)
        known_there = network.get(f"/requests/{request}", token=code)
        words = f"1 study found, 1 here, {len(study.instances)} images sent"
        assert (known_there["retrieval_reason"], known_there["wanted"]) == (words, None)
        # it was asked for, and not sent: no rule of the holder's gave it to anybody
        assert network.get("/shares", study_uid=study.study_uid)["items"] == [share]


def asked(network: Network, holder: str, requester: Institution, study: SyntheticStudy) -> str:
    """A request, by the Patient ID of a study."""
    made = network.post(
        "/requests",
        {
            "holder": holder,
            "issuer": "NHS",
            "patient_id": study.patient_id,
            "priority": "emergency",
            "reason": "stroke",
        },
        token=requester.code,
    )
    assert made.status_code == 201, made.text
    return str(made.json()["id"])
