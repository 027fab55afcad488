"""What README promises, each on real Kafka, MinIO, PostgreSQL and DICOM peers."""

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from imex.local.ports import free_ports
from imex.testing.dicom import nhs_number, synthetic_study
from imex.testing.network import Institution, Network
from imex.testing.peers import Orthanc, StoreScp, dcmsend, send, storescu

Receiving = Callable[[Institution], StoreScp]


def test_a_study_of_60_slices_arrives_byte_identical(network: Network, receiving: Receiving) -> None:
    source, recipient = network.pair()
    receiver = receiving(recipient)
    study = synthetic_study(60, size=128)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    share = network.wait_share(study.study_uid, "delivered")
    assert receiver.held() == sorted(study.digests.values())
    assert share["instances"] == {
        "expected": 60, "received": 60, "validated": 60, "quarantined": 0, "delivered": 60, "failed": 0,
    }  # fmt: skip
    receipt = network.get(f"/shares/{share['id']}/receipt")
    assert receipt["complete"]
    assert {each["sop_instance_uid"]: each["digest"] for each in receipt["instances"]} == study.digests
    steps = network.steps(share)
    for step in ("received", "accepted", "collecting", "completed", "delivering", "delivered"):
        assert step in steps
    assert steps.index("received") < steps.index("completed") < steps.index("delivered")


def test_one_study_over_two_associations_in_bursts_is_one_share(
    network: Network, receiving: Receiving
) -> None:
    source, recipient = network.pair(quiet_s=3)
    receiver = receiving(recipient)
    study = synthetic_study(50, size=64)
    files = network.files(study)
    on_time = files[:40]
    random.Random(study.study_uid).shuffle(on_time)
    for first in (0, 20):
        bursts = [on_time[first : first + 10], on_time[first + 10 : first + 20]]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda burst: dcmsend(network.dicom_port, burst, source.ae_title), bursts))
    share = network.wait_share(study.study_uid, "delivered")
    assert share["instances"]["delivered"] == 40

    # ten that come late join the same share, whose receipt gets a new revision
    dcmsend(network.dicom_port, files[40:], source.ae_title)
    receipt = network.wait_for(
        lambda: whole_receipt(network, share["id"], 50), 60, "the receipt lists all fifty"
    )
    assert receipt["revision"] > 1
    assert {one["digest"] for one in receipt["instances"]} == set(study.digests.values())
    only = network.wait_share(study.study_uid, "delivered")
    assert (only["id"], only["instances"]["delivered"]) == (share["id"], 50)
    assert len(network.shares(study.study_uid)) == 1
    assert receiver.held() == sorted(study.digests.values())


def whole_receipt(network: Network, share: str, instances: int) -> Any:
    """The receipt of a share once it is complete and of so many instances."""
    receipt = network.get(f"/shares/{share}/receipt")
    return receipt if receipt["complete"] and len(receipt["instances"]) == instances else None


def test_orthanc_sends_and_orthanc_receives(network: Network, tmp_path: Path) -> None:
    source, recipient = network.pair()
    http_a, http_b, dicom_a = free_ports(3)
    sender = Orthanc(source.ae_title, dicom_a, http_a, tmp_path / "a", {"imex": ("IMEX", network.dicom_port)})
    receiver = Orthanc(recipient.ae_title, recipient.port, http_b, tmp_path / "b", {})
    study = synthetic_study(20, size=128)
    try:
        sender.start()
        receiver.start()
        sender.load(network.files(study))
        sent = sender.held(study.study_uid)
        sender.send(study.study_uid, "imex")
        network.wait_share(study.study_uid, "delivered")
        assert receiver.held(study.study_uid) == sent
        assert len(sent) == 20
    finally:
        sender.stop()
        receiver.stop()


def test_an_unknown_sender_is_rejected_and_audited(network: Network) -> None:
    study = synthetic_study(1, size=32)
    done = storescu(network.dicom_port, network.files(study), "NOBODY_AT_ALL"[:16])
    assert "Association Rejected" in done.stdout + done.stderr
    assert "Calling AE Title Not Recognized" in done.stdout + done.stderr
    network.wait_for(
        lambda: "NOBODY_AT_ALL" in network.stack.imex("audit", "export").stdout,
        20,
        "the refused association is in the audit export",
    )
    assert network.shares(study.study_uid) == []


def test_an_unknown_called_ae_title_is_rejected(network: Network) -> None:
    source, _ = network.pair()
    done = storescu(
        network.dicom_port, network.files(synthetic_study(1, size=32)), source.ae_title, "NOWHERE"
    )
    assert "Called AE Title Not Recognized" in done.stdout + done.stderr


def test_without_an_agreement_a_rules_share_is_refused_and_nothing_leaves(
    network: Network, receiving: Receiving
) -> None:
    source, recipient = network.institution(), network.institution()
    network.rule(source, recipient)
    network.apply()
    receiver = receiving(recipient)
    study = synthetic_study(3, size=32)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    share = network.wait_share(study.study_uid, "refused")
    assert "agreement" in share["reason"]
    assert receiver.held() == []
    network.wait_for(
        lambda: any(
            share["id"] in line and "share refused" in line
            for line in network.stack.imex("audit", "export").stdout.splitlines()
        ),
        20,
        "the refusal is audited",
    )


def test_without_an_agreement_the_recipient_as_called_ae_title_is_answered_with_a_failure(
    network: Network,
) -> None:
    source, recipient = network.institution(), network.institution()
    network.apply()
    study = synthetic_study(1, size=32)
    done = storescu(network.dicom_port, network.files(study), source.ae_title, recipient.code)
    said = done.stdout + done.stderr
    assert "0x0124" in said or "Not Authorized" in said
    assert "agreement" in said
    assert network.shares(study.study_uid) == []
    network.wait_for(
        lambda: recipient.code in network.stack.imex("audit", "export").stdout, 20, "it is audited"
    )


def test_the_recipient_as_called_ae_title_gets_the_study(network: Network, receiving: Receiving) -> None:
    source, recipient = network.institution(), network.institution()
    network.agreement(source, recipient)
    network.apply()
    receiver = receiving(recipient)
    study = synthetic_study(5, size=64)
    dcmsend(network.dicom_port, network.files(study), source.ae_title, recipient.code)
    share = network.wait_share(study.study_uid, "delivered")
    assert share["recipient"] == recipient.code
    assert receiver.held() == sorted(study.digests.values())


def test_a_changed_directory_takes_effect_without_a_restart(network: Network, receiving: Receiving) -> None:
    source, recipient = network.institution(), network.institution()
    network.apply()
    before = {name: part["pid"] for name, part in network.stack.described["processes"].items()}
    first = synthetic_study(2, size=32)
    dcmsend(network.dicom_port, network.files(first), source.ae_title)
    network.agreement(source, recipient)
    network.rule(source, recipient)
    network.apply()
    receiver = receiving(recipient)
    second = synthetic_study(2, size=32)

    def delivered() -> bool:
        dcmsend(network.dicom_port, network.files(second), source.ae_title)
        return bool(network.shares(second.study_uid))

    network.wait_for(delivered, 10, "the new rule makes a share")
    network.wait_share(second.study_uid, "delivered")
    assert set(receiver.held()) == set(second.digests.values())
    assert {name: part["pid"] for name, part in network.stack.described["processes"].items()} == before


def test_a_receiver_that_was_down_gets_its_study_without_help_while_others_flow(
    network: Network, receiving: Receiving
) -> None:
    source, down, up = network.institution(), network.institution(), network.institution()
    network.agreement(source, down)
    network.agreement(source, up)
    network.rule(source, down, up)
    network.apply()
    other = receiving(up)
    study = synthetic_study(10, size=64)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    network.wait_share(study.study_uid, "delivered", recipient=up.code)
    assert other.held() == sorted(study.digests.values())
    waiting = next(s for s in network.shares(study.study_uid) if s["recipient"] == down.code)
    network.wait_for(
        lambda: sum(step == "delivery_attempted" for step in network.steps(waiting)) >= 2,
        40,
        "attempts at the receiver that is down",
    )
    failed = [
        row
        for row in network.get(f"/shares/{waiting['id']}/timeline")["items"]
        if row["step"] == "delivery_attempted"
    ]
    assert "refused" in failed[0]["reason"]
    late = receiving(down)
    network.wait_share(study.study_uid, "delivered", within_s=75, recipient=down.code)
    assert late.held() == sorted(study.digests.values())


def test_the_same_study_twice_is_not_delivered_twice(network: Network, receiving: Receiving) -> None:
    source, recipient = network.pair()
    receiver = receiving(recipient)
    study = synthetic_study(8, size=64)
    files = network.files(study)
    dcmsend(network.dicom_port, files, source.ae_title)
    share = network.wait_share(study.study_uid, "delivered")
    dcmsend(network.dicom_port, files, source.ae_title)
    network.wait_for(lambda: "repeated" in network.steps(share), 30, "the repeat is in the timeline")
    # another study after it through the same pair shows that the repeat's time has passed
    after = synthetic_study(1, size=64)
    dcmsend(network.dicom_port, network.files(after), source.ae_title)
    network.wait_share(after.study_uid, "delivered")
    assert [each["state"] for each in network.shares(study.study_uid)] == ["delivered"]
    assert receiver.held() == sorted([*study.digests.values(), *after.digests.values()])


def test_corrupt_and_misidentified_instances_wait_while_the_rest_of_the_study_flows(
    network: Network, receiving: Receiving
) -> None:
    source, recipient = network.pair()
    receiver = receiving(recipient)
    patient = nhs_number()
    study = synthetic_study(6, size=64, patient_id=patient)
    instances = list(study.instances)
    # DCMTK would not send what it cannot read, so our own requestor does
    instances[1] = replace(instances[1], dataset=instances[1].dataset[:-2000])
    stranger = synthetic_study(
        1, size=64, study_uid=study.study_uid, patient_id=patient, patient_name="OTHER^PERSON", sex="F"
    )
    answers = send(network.dicom_port, [*instances, *stranger.instances], source.ae_title)
    assert answers == [0] * 7
    share = network.wait_share(study.study_uid, "partial")
    sound = [digest for number, digest in enumerate(study.digests.values()) if number != 1]
    assert receiver.held() == sorted(sound)
    assert share["instances"]["quarantined"] == 2
    assert "2" in share["reason"]
    listed = json.loads(network.stack.imex("quarantine", "list", "--json").stdout)
    entries = [entry for entry in listed["items"] if entry["study_uid"] == study.study_uid]
    reasons = sorted(entry["reason"] for entry in entries)
    assert len(reasons) == 2
    assert any("cannot be read" in reason for reason in reasons)
    assert any("Patient's Name" in reason for reason in reasons)
    assert not any("OTHER" in reason or patient in reason for reason in reasons)
    misidentified = next(entry for entry in entries if "Patient's Name" in entry["reason"])
    done = network.stack.imex(
        "quarantine", "release", misidentified["id"], "--reason", "same person, married"
    )
    assert done.returncode == 0, done.stderr
    network.wait_for(lambda: len(receiver.held()) == 6, 60, "the released instance arrives")
    receipt = network.get(f"/shares/{share['id']}/receipt")
    assert not receipt["complete"]


def test_an_emergency_study_is_handed_on_instance_by_instance(network: Network, receiving: Receiving) -> None:
    source, recipient = network.pair(priority="emergency", quiet_s=30)
    receiver = receiving(recipient)
    study = synthetic_study(10, size=64)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    # long before the study counts as complete, which takes a quiet period of 30 s
    network.wait_for(lambda: len(receiver.held()) == 10, 15, "all are there before the study closes")
    assert receiver.held() == sorted(study.digests.values())
    assert "first_image_received" in network.steps(network.shares(study.study_uid)[0])


def test_what_was_sent_is_found_by_every_identifier(network: Network, receiving: Receiving) -> None:
    source, recipient = network.pair()
    receiving(recipient)
    study = synthetic_study(2, size=32)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    share = network.wait_share(study.study_uid, "delivered")
    for identifier in (study.study_uid, study.accession, share["id"], share["trace_id"]):
        done = network.stack.imex("find", identifier)
        assert done.returncode == 0, done.stderr
        assert study.study_uid in done.stdout.replace("\n", "")
    shown = network.stack.imex("show", share["id"])
    assert "delivered" in shown.stdout


def test_institutions_see_only_their_own_shares(network: Network, receiving: Receiving) -> None:
    source, recipient = network.pair()
    stranger = network.institution()
    network.apply()
    receiving(recipient)
    study = synthetic_study(1, size=32)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    share = network.wait_share(study.study_uid, "delivered")
    for own in (source, recipient):
        assert network.get(f"/shares/{share['id']}", token=own.code)["id"] == share["id"]
    assert network.get("/shares", token=stranger.code, study_uid=study.study_uid)["items"] == []


def test_the_trail_verifies_and_names_who_sent_what(network: Network, receiving: Receiving) -> None:
    source, recipient = network.pair()
    receiving(recipient)
    study = synthetic_study(1, size=32)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    share = network.wait_share(study.study_uid, "delivered")

    def audited() -> bool:
        lines = [
            line
            for line in network.stack.imex("audit", "export").stdout.splitlines()
            if study.study_uid in line
        ]
        said = " ".join(lines)
        return share["id"] in said and all(
            word in said for word in ("instances_received", "share_accepted", "share_delivered")
        )

    network.wait_for(audited, 30, "the study's passage is audited")
    done = network.stack.imex("audit", "verify")
    assert done.returncode == 0, done.stdout + done.stderr
