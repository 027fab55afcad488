"""Emergencies beside routine studies that queue, and shares that are late."""

from collections.abc import Callable

from imex.testing.dicom import SyntheticStudy, synthetic_study
from imex.testing.network import Institution, Network
from imex.testing.peers import StoreScp, dcmsend

Receiving = Callable[[Institution], StoreScp]


def _queue_to_slow(
    network: Network, receiving: Receiving
) -> tuple[Institution, StoreScp, list[SyntheticStudy]]:
    """Three routine studies for a destination that takes a fraction of a second for each image."""
    source, slow = network.institution(), network.institution()
    slow.entry["endpoints"][0]["accepts"] = {"max_associations": 2, "max_mbps": 4}
    network.agreement(source, slow)
    network.rule(source, slow)
    network.apply()
    receiver = receiving(slow)
    studies = [synthetic_study(50, size=128) for _ in range(3)]
    for study in studies:
        dcmsend(network.dicom_port, network.files(study), source.ae_title)
    network.wait_for(receiver.held, 60, "the queue moves")
    return slow, receiver, studies


def _all_arrives(network: Network, receiver: StoreScp, digests: list[str]) -> None:
    network.wait_for(lambda: receiver.held() == sorted(digests), 120, "everything routine arrives")


def test_an_emergency_to_another_destination_overtakes_a_queue_and_nothing_of_that_is_lost(
    network: Network, receiving: Receiving
) -> None:
    hospital, recipient = network.pair(priority="emergency", quiet_s=2)
    _, receiver, queued = _queue_to_slow(network, receiving)
    at_recipient = receiving(recipient)
    emergency = synthetic_study(20, size=128)
    dcmsend(network.dicom_port, network.files(emergency), hospital.ae_title)
    network.wait_for(lambda: len(at_recipient.held()) == 20, 60, "the emergency is there")
    assert len(receiver.held()) < 150, "the queue was still there"
    share = network.wait_share(emergency.study_uid, "delivered")
    assert share["first_image_at"] <= share["last_image_at"]
    _all_arrives(network, receiver, [digest for study in queued for digest in study.digests.values()])
    for study in queued:
        network.wait_share(study.study_uid, "delivered")


def test_an_emergency_to_the_slow_destination_itself_overtakes_its_queue(
    network: Network, receiving: Receiving
) -> None:
    slow, receiver, queued = _queue_to_slow(network, receiving)
    hospital = network.institution()
    network.agreement(hospital, slow)
    network.rule(hospital, slow, priority="emergency", quiet_s=2)
    network.apply()
    emergency = synthetic_study(5, size=128)
    wanted = set(emergency.digests.values())
    dcmsend(network.dicom_port, network.files(emergency), hospital.ae_title)
    network.wait_for(lambda: wanted <= set(receiver.held()), 60, "the emergency is there")
    assert len(receiver.held()) < 155, "it did not wait for the queue"
    everything = [digest for study in (*queued, emergency) for digest in study.digests.values()]
    _all_arrives(network, receiver, everything)


def test_a_share_that_is_late_is_raised_and_told_until_somebody_has_seen_to_it(
    network: Network, receiving: Receiving
) -> None:
    source, recipient = network.pair(escalate={"after_s": 3, "to": "urgent"})
    study = synthetic_study(2, size=32)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    notice = network.wait_for(
        lambda: next(iter(network.get("/notices", token=source.code)["items"]), None), 60, "a notice"
    )
    (share,) = network.shares(study.study_uid)
    assert (notice["kind"], notice["share"], share["priority"]) == ("escalated", share["id"], "urgent")
    assert "escalated" in network.steps(share)
    listed = network.stack.imex("notices", "list")
    assert listed.returncode == 0, listed.stderr
    receiver = receiving(recipient)
    network.wait_share(study.study_uid, "delivered", 90)
    assert receiver.held() == sorted(study.digests.values())
    done = network.stack.imex("notices", "acknowledge", notice["id"], "--remark", "their PACS was off")
    assert done.returncode == 0, done.stderr
    assert len(network.get("/notices", token=source.code)["items"]) == 1, (
        "the administration saw to it, not they"
    )
