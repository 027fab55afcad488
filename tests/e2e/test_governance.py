"""What an information-governance lead asks of a running network, by the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network
from imex.testing.peers import StoreScp, dcmsend

Receiving = Callable[[Institution], StoreScp]


def test_a_revoked_agreement_stops_what_has_not_been_delivered(network: Network) -> None:
    source, _ = network.pair(quiet_s=1)  # nobody listens at the recipient
    study = synthetic_study(2, size=32)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    network.wait_share(study.study_uid, "delivering")
    [agreement] = [one for one in network.directory["agreements"] if one["from"] == source.code]
    network.directory["agreements"].remove(agreement)
    network.apply()
    share = network.wait_share(study.study_uid, "revoked", within_s=10)
    assert "agreement" in share["reason"]
    [delivery] = network.get("/deliveries", share=share["id"])["items"]
    assert delivery["outcome"] == "cancelled"


def test_nobody_who_opted_out_is_sent_for_research(network: Network, receiving: Receiving) -> None:
    source, recipient = network.institution(), network.institution()
    network.agreement(source, recipient, purposes=["direct-care", "research"])
    network.rule(source, recipient, purpose="research")
    network.rule(source, recipient)
    network.apply()
    receiver = receiving(recipient)
    study = synthetic_study(2, size=32)
    marked = imex(
        network, "marks", "set", "--issuer", "NHS", "--patient-id", study.patient_id,
        "--opted-out", "--not-sensitive", "--reason", "as the national service says",
    )  # fmt: skip
    assert marked["opted_out"] is True
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    network.wait_share(study.study_uid, "delivered")
    by_purpose = {share["purpose"]: share for share in network.shares(study.study_uid)}
    assert by_purpose["direct-care"]["state"] == "delivered"
    assert by_purpose["research"]["state"] == "refused"
    assert "opt-out" in by_purpose["research"]["reason"]
    assert receiver.held() == sorted(study.digests.values())


def test_complete_now_ends_the_wait(network: Network, receiving: Receiving) -> None:
    source, recipient = network.pair(quiet_s=3600)
    receiver = receiving(recipient)
    study = synthetic_study(3, size=32)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    share = network.wait_share(study.study_uid, "collecting")
    network.wait_for(lambda: network.shares(study.study_uid)[0]["instances"]["validated"] == 3, 30, "all in")
    imex(network, "complete", share["id"], "--reason", "the list is finished")
    network.wait_share(study.study_uid, "delivered")
    assert receiver.held() == sorted(study.digests.values())
    assert "completion_asked" in network.steps(share)


def test_a_changed_directory_is_tried_on_what_was_decided(
    network: Network, receiving: Receiving, tmp_path: Path
) -> None:
    source, recipient = network.pair()
    receiving(recipient)
    study = synthetic_study(1, size=32)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    network.wait_share(study.study_uid, "delivered")
    same, changed = tmp_path / "same.yaml", tmp_path / "changed.yaml"
    same.write_text(yaml.safe_dump(network.directory))
    rules = [one for one in network.directory["rules"] if one["match"].get("source") != source.code]
    changed.write_text(yaml.safe_dump({**network.directory, "rules": rules}))

    def about_it(file: Path) -> list[list[str]]:
        answer = imex(network, "rules", "replay", str(file), "--since", "1h")
        return [one["changes"] for one in answer["items"] if one["study_uid"] == study.study_uid]

    assert about_it(same) == []
    [[words]] = about_it(changed)
    assert words.startswith(f"{recipient.code} for direct-care: was shared")
    assert words.endswith("nothing would ask for it")


def imex(network: Network, *arguments: str) -> Any:
    """The answer of a command as JSON."""
    done = network.stack.imex(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
