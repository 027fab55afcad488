"""A running exchange: a destination is paused, and a receipt is believed without the exchange."""

import json
from collections.abc import Callable
from pathlib import Path

from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network
from imex.testing.peers import StoreScp, dcmsend

Receiving = Callable[[Institution], StoreScp]


def test_a_paused_destination_gets_nothing_until_it_is_resumed(
    network: Network, receiving: Receiving
) -> None:
    source, recipient = network.pair(quiet_s=1)
    receiver = receiving(recipient)
    place = f"{recipient.code}/pacs"
    paused = network.stack.imex("deliveries", "pause", "--destination", place, "--reason", "new storage")
    assert paused.returncode == 0, paused.stderr
    study = synthetic_study(5, size=64)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    share = network.wait_share(study.study_uid, "delivering")
    network.wait_for(lambda: "paused" in network.steps(share), 30, "the timeline says so")
    shown = network.stack.imex("deliveries", "destinations", "--to", recipient.code)
    assert "paused" in shown.stdout
    assert "new storage" in shown.stdout
    assert receiver.held() == []
    resumed = network.stack.imex("deliveries", "resume", "--destination", place)
    assert resumed.returncode == 0, resumed.stderr
    network.wait_share(study.study_uid, "delivered")
    assert receiver.held() == sorted(study.digests.values())
    steps = network.steps(share)
    assert steps.index("paused") < steps.index("resumed") < steps.index("delivered")


def test_a_receipt_is_checked_with_the_published_key_and_against_the_files(
    network: Network, receiving: Receiving, tmp_path: Path
) -> None:
    source, recipient = network.pair(quiet_s=1)
    receiving(recipient)
    study = synthetic_study(5, size=64)
    files = network.files(study)
    dcmsend(network.dicom_port, files, source.ae_title)
    share = network.wait_share(study.study_uid, "delivered")
    receipt = tmp_path / "receipt.json"
    receipt.write_text(network.stack.imex("receipts", "get", share["id"]).stdout)
    keys = f"{network.stack.described['api']}/keys"
    ask = ("receipts", "verify", str(receipt), "--jwks", keys, "--files", str(files[0].parent), "--json")
    done = network.stack.imex(*ask)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"]["as_received"] == 5
    changed = json.loads(receipt.read_text())
    changed["instances"][0]["status"] = "failed"
    receipt.write_text(json.dumps(changed))
    assert network.stack.imex(*ask).returncode == 1
