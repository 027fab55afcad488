"""One institution asks another for studies, on a running network."""

import json
from collections.abc import Callable

from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network
from imex.testing.peers import StoreScp, dcmsend


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
