"""DICOMweb at the portal: a study is sent by STOW-RS and delivered, found and retrieved by its recipient."""

from collections.abc import Callable
from typing import Any

import pydicom
from dicomweb_client import DICOMwebClient

from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network
from imex.testing.peers import StoreScp

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
