"""How long images are kept, on a running network with other traffic beside it."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from minio import Minio

from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network, reconciled
from imex.testing.peers import StoreScp, dcmsend

Receiving = Callable[[Institution], StoreScp]


def objects(network: Network, institution: Institution) -> int:
    """How many payloads of an institution the store has."""
    s3 = network.stack.described["s3"]
    client = Minio(s3["endpoint"].removeprefix("http://"), s3["access_key"], s3["secret_key"], secure=False)
    return sum(1 for _ in client.list_objects(s3["bucket"], f"{institution.code}/", recursive=True))


def imex(network: Network, *arguments: str) -> Any:
    done = network.stack.imex(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_images_go_on_schedule_while_others_travel_and_come_again_as_new(
    network: Network, receiving: Receiving
) -> None:
    source, recipient, busy, other = (network.institution() for _ in range(4))
    network.agreement(source, recipient, retain_days=0)
    network.rule(source, recipient)
    network.agreement(busy, other)
    network.rule(busy, other)
    network.apply()
    receiver, beside = receiving(recipient), receiving(other)
    held, gone = synthetic_study(2, size=32), synthetic_study(3, size=32)
    traffic = [synthetic_study(4, size=32) for _ in range(6)]

    def send_all() -> None:
        for study in traffic:
            dcmsend(network.dicom_port, network.files(study), busy.ae_title)

    with ThreadPoolExecutor() as pool:
        sending = pool.submit(send_all)
        dcmsend(network.dicom_port, network.files(held), source.ae_title)
        network.wait_share(held.study_uid, "collecting")
        imex(network, "holds", "place", held.study_uid, "--source", source.code, "--reason", "inquest")
        dcmsend(network.dicom_port, network.files(gone), source.ae_title)
        share = network.wait_share(gone.study_uid, "delivered")
        network.wait_for(lambda: objects(network, source) == 2, 30, "the study's images are deleted")
        sending.result()
    assert "images_deleted" in network.steps(share)
    told = network.get(f"/shares/{share['id']}")
    assert told["images_deleted_at"]
    assert (told["state"], told["instances"]["received"]) == ("delivered", 3)
    assert network.get(f"/shares/{share['id']}/receipt")["complete"]
    body = {"study_uid": gone.study_uid, "source": source.code, "recipient": recipient.code, "purpose": "mdt"}
    refused = network.post("/shares", body)
    assert refused.status_code == 409
    assert "send the study again" in refused.json()["detail"]

    dcmsend(network.dicom_port, network.files(gone), source.ae_title)
    network.wait_for(
        lambda: [one["state"] for one in network.shares(gone.study_uid)] == ["delivered"] * 2,
        60,
        "what is sent again travels again",
    )
    imex(network, "holds", "lift", held.study_uid, "--source", source.code, "--reason", "closed")
    network.wait_for(lambda: objects(network, source) == 0, 30, "nothing is held any more")
    for study in traffic:
        network.wait_share(study.study_uid, "delivered")
    assert beside.held() == sorted(digest for study in traffic for digest in study.digests.values())
    assert set(receiver.held()) == {*held.digests.values(), *gone.digests.values()}
    assert objects(network, busy) == 24
    assert reconciled(network)["balanced"]
