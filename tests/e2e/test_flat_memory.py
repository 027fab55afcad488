"""Memory stays flat whatever is sent: no process of ours above 300 MB. `make faults` has the full sizes."""

import asyncio
from collections.abc import Callable

from imex.testing.dicom import synthetic_study
from imex.testing.flat import MultiFrame, Peaks, digest_of_file, send_over
from imex.testing.network import Institution, Network
from imex.testing.peers import StoreScp

Receiving = Callable[[Institution], StoreScp]


def test_an_instance_of_256_mib(network: Network, receiving: Receiving) -> None:
    source, recipient = network.pair()
    receiver = receiving(recipient)
    instance = MultiFrame(512)
    peaks = Peaks(network.stack)
    answer = asyncio.run(instance.send(network.dicom_port, source.ae_title))
    assert answer.status == 0, answer
    network.wait_share(instance.study_uid, "delivered", within_s=120)
    print(peaks.report())
    peaks.hold()
    assert [digest_of_file(path) for path in receiver.files] == [instance.digest()]


def test_a_study_of_2000_slices(network: Network, receiving: Receiving) -> None:
    source, recipient = network.pair()
    receiver = receiving(recipient)
    study = synthetic_study(2000, size=64)
    peaks = Peaks(network.stack)
    statuses = asyncio.run(send_over(network.dicom_port, source.ae_title, study.instances, 4))
    assert set(statuses) == {0}
    share = network.wait_share(study.study_uid, "delivered", within_s=180)
    print(peaks.report())
    peaks.hold()
    assert share["instances"]["delivered"] == 2000
    assert set(receiver.held()) == set(study.digests.values())


def test_two_hundred_associations_at_a_time(network: Network, receiving: Receiving) -> None:
    source, recipient = network.pair()
    receiver = receiving(recipient)
    study = synthetic_study(600, size=512)
    peaks = Peaks(network.stack)
    statuses = asyncio.run(send_over(network.dicom_port, source.ae_title, study.instances, 200))
    assert set(statuses) == {0}
    network.wait_share(study.study_uid, "delivered", within_s=180)
    print(peaks.report())
    peaks.hold()
    assert set(receiver.held()) == set(study.digests.values())
