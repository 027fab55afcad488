"""The sizes that tempt a process to grow, in full: no process of ours above 300 MB."""

import asyncio

from imex.testing.dicom import synthetic_study
from imex.testing.flat import MultiFrame, Peaks, digest_of_file, send_over
from imex.testing.network import Network

SLICES = 20_000
FRAMES_OF_2_GIB = 4096
ASSOCIATIONS = 200


def test_an_instance_of_2_gib(network: Network) -> None:
    source, recipient = network.pair()
    receiver = network.receiver(recipient)
    receiver.start()
    try:
        instance = MultiFrame(FRAMES_OF_2_GIB)
        peaks = Peaks(network.stack)
        answer = asyncio.run(instance.send(network.dicom_port, source.ae_title))
        assert answer.status == 0, answer
        network.wait_share(instance.study_uid, "delivered", within_s=400)
        print(peaks.report())
        peaks.hold()
        assert [digest_of_file(path) for path in receiver.files] == [instance.digest()]
    finally:
        receiver.stop()
        for path in receiver.files:
            path.unlink()


def test_a_study_of_20_000_slices_over_200_associations(network: Network) -> None:
    source, recipient = network.pair()
    receiver = network.receiver(recipient)
    receiver.start()
    try:
        study = synthetic_study(SLICES, size=64)
        peaks = Peaks(network.stack)
        statuses = asyncio.run(send_over(network.dicom_port, source.ae_title, study.instances, ASSOCIATIONS))
        assert set(statuses) == {0}
        share = network.wait_share(study.study_uid, "delivered", within_s=450)
        print(peaks.report())
        peaks.hold()
        assert share["instances"]["delivered"] == SLICES
        assert set(receiver.held()) == set(study.digests.values())
    finally:
        receiver.stop()
