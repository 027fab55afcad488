"""DICOMweb at the portal: a study is sent by STOW-RS and delivered, found and retrieved by its recipient."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pydicom
from dicomweb_client import DICOMwebClient

from imex.dicom import dataset_digest
from imex.dicomweb.media import media_type
from imex.dicomweb.related import PartBegun, PartPiece, RelatedReader
from imex.local.ports import free_ports
from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network
from imex.testing.peers import Orthanc, StoreScp

Receiving = Callable[[Institution], StoreScp]


def client(network: Network, code: str) -> DICOMwebClient:
    described = network.stack.described
    token = described["tokens"][code]
    return DICOMwebClient(described["dicomweb"], headers={"Authorization": f"Bearer {token}"})


def test_a_study_sent_by_stow_is_delivered_and_named_part_by_part(
    network: Network, receiving: Receiving
) -> None:
    source, recipient = network.pair()
    receiver = receiving(recipient)
    study = synthetic_study(24, size=128)
    datasets: list[Any] = [pydicom.dcmread(path) for path in network.files(study)]
    answer = client(network, source.code).store_instances(datasets, study.study_uid)
    assert len(answer.ReferencedSOPSequence) == 24 and "FailedSOPSequence" not in answer
    share = network.wait_share(study.study_uid, "delivered")
    assert (share["source"], share["instances"]["delivered"]) == (source.code, 24)
    assert receiver.held() == sorted(study.digests.values())


def test_its_recipient_finds_and_retrieves_it_and_the_source_is_told(
    network: Network, receiving: Receiving
) -> None:
    source, recipient = network.pair()
    stranger = network.institution()
    network.apply()
    receiving(recipient)
    study = synthetic_study(12, size=128)
    body, kind = related([instance.file() for instance in study.instances])
    described = network.stack.described
    sent = httpx2.post(
        f"{described['dicomweb']}/studies",
        content=body,
        headers={"Authorization": f"Bearer {described['tokens'][source.code]}", "Content-Type": kind},
        timeout=30,
        trust_env=False,
    )
    assert sent.status_code == 200
    share = network.wait_share(study.study_uid, "delivered")
    for who in (source, recipient):
        reader = client(network, who.code)
        (found,) = reader.search_for_studies(search_filters={"PatientID": study.patient_id})
        assert found["0020000D"]["Value"] == [study.study_uid]
        assert len(reader.search_for_instances(study.study_uid)) == 12
        assert len(reader.retrieve_study_metadata(study.study_uid)) == 12
    reader = client(network, recipient.code)
    got = reader.retrieve_study(study.study_uid)
    one = got[0]
    frames = reader.retrieve_instance_frames(
        one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID, [1]
    )
    assert frames == [one.PixelData]
    assert {dataset.SOPInstanceUID for dataset in got} == set(study.digests)
    assert retrieved_digests(network, recipient, study.study_uid) == sorted(study.digests.values())
    assert client(network, stranger.code).search_for_studies() == []
    network.wait_for(
        lambda: "viewed" in network.steps(share), 20, "the timeline says that the recipient has retrieved it"
    )
    exported = network.stack.imex("audit", "export").stdout
    assert share["id"] in exported


def test_orthanc_sends_by_stow_and_retrieves_by_wado(
    network: Network, receiving: Receiving, tmp_path: Path
) -> None:
    source, recipient = network.pair()
    receiving(recipient)
    study = synthetic_study(10, size=128)
    (http,) = free_ports(1)
    orthanc = Orthanc(source.ae_title, source.port, http, tmp_path / "orthanc", {}, dicomweb=True)
    orthanc.start()
    try:
        orthanc.load(network.files(study))
        with httpx2.Client(base_url=orthanc.dicomweb, timeout=60, trust_env=False) as peer:
            for name, code in (("as-source", source.code), ("as-recipient", recipient.code)):
                peer.put(f"/servers/{name}", json=server(network, code)).raise_for_status()
            root = f"http://127.0.0.1:{http}"
            ids = httpx2.get(f"{root}/studies", trust_env=False).json()
            sent = peer.post("/servers/as-source/stow", json={"Resources": ids, "Synchronous": True})
            sent.raise_for_status()
            network.wait_share(study.study_uid, "delivered")
            for one in ids:
                httpx2.delete(f"{root}/studies/{one}", trust_env=False).raise_for_status()
            assert orthanc.held(study.study_uid) == {}
            wanted = {"Resources": [{"Study": study.study_uid}], "Synchronous": True}
            peer.post("/servers/as-recipient/retrieve", json=wanted).raise_for_status()
        assert orthanc.held(study.study_uid) == study.digests
    finally:
        orthanc.stop()


def server(network: Network, code: str) -> dict[str, Any]:
    """Imex as Orthanc is told of it."""
    described = network.stack.described
    return {
        "Url": described["dicomweb"] + "/",
        "HttpHeaders": {"Authorization": f"Bearer {described['tokens'][code]}"},
    }


def related(files: list[bytes]) -> tuple[bytes, str]:
    """A body as any program would put it together."""
    boundary = "imex-test"
    parts = b"".join(
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file + b"\r\n" for file in files
    )
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    return parts + f"--{boundary}--\r\n".encode(), kind


def retrieved_digests(network: Network, institution: Institution, study_uid: str) -> list[str]:
    """Of the data sets as they come over the wire."""
    described = network.stack.described
    answer = httpx2.get(
        f"{described['dicomweb']}/studies/{study_uid}",
        headers={
            "Authorization": f"Bearer {described['tokens'][institution.code]}",
            "Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*',
        },
        timeout=30,
        trust_env=False,
    )
    assert answer.status_code == 200
    reader = RelatedReader(media_type(answer.headers["content-type"]).parameters["boundary"])
    files: list[bytearray] = []
    for happening in reader.feed(answer.content):
        if isinstance(happening, PartBegun):
            files.append(bytearray())
        elif isinstance(happening, PartPiece):
            files[-1] += happening.data
    reader.finish()
    return sorted(dataset_digest(file) for file in files)
