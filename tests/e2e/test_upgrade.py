"""Upgrading a stack that was stopped in the middle of its work loses nothing (`imex.testing.state`)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imex.local.home import Home
from imex.local.ports import free_ports
from imex.testing.network import Network, reconciled
from imex.testing.peers import StoreScp
from imex.testing.stack import LocalStack, running_stack
from imex.testing.state import restore

STATES = Path(__file__).parent / "states"
STUDIES = json.loads((STATES / "0011.studies.json").read_text())


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The stack of an old release, restored, and started by this one."""
    root = tmp_path_factory.mktemp("old") / "home"
    restore(Home(root.resolve(), default=False), STATES / "0011.json.gz")
    with running_stack(root) as stack:
        yield stack


def test_what_an_older_release_had_under_way_arrives_after_an_upgrade(
    upgraded: LocalStack, tmp_path: Path
) -> None:
    network = Network(upgraded, tmp_path, STUDIES["directory"])
    at_b, at_c = (listening(network, code, tmp_path) for code in ("UPB", "UPC"))
    network.apply()
    try:
        # read by nobody yet: topics of ingest, validation and routing
        for unread in ("unjudged", "unrouted", "unsent"):
            network.wait_share(uid_of(unread), "delivered")
        # waiting for a destination that was down
        [queued] = network.shares(uid_of("queued"))
        for delivery in network.get("/deliveries", share=queued["id"])["items"]:
            network.post(f"/deliveries/{delivery['id']}/retry", {"reason": "it is back"})  # or it is done
        network.wait_share(uid_of("queued"), "delivered")
        # waiting for a person
        for entry in network.get("/quarantine")["items"]:
            assert entry["study_uid"] == uid_of("held")
            network.post(f"/quarantine/{entry['id']}/release", {"reason": "the identifier was confirmed"})
        network.wait_share(uid_of("held"), "delivered")
        # collecting for a long time still, unless a person ends it, which an older release did not know
        [collecting] = network.shares(uid_of("collecting"))
        assert collecting["state"] == "collecting"
        network.post(f"/shares/{collecting['id']}/complete")
        network.wait_share(uid_of("collecting"), "delivered")
        # done before
        assert [share["state"] for share in network.shares(uid_of("delivered"))] == ["delivered"]

        assert digests(at_b) == digests_of("unjudged", "unrouted", "unsent", "held", "collecting")
        assert digests(at_c) == digests_of("queued")
        reconciled(network)
        assert upgraded.imex("audit", "verify").returncode == 0
    finally:
        at_b.stop()
        at_c.stop()


def listening(network: Network, code: str, folder: Path) -> StoreScp:
    """A receiver at the endpoint of an institution, whose port is entered in the directory."""
    (port,) = free_ports(1)
    [entry] = [one for one in network.directory["institutions"] if one["code"] == code]
    entry["endpoints"][0]["port"] = port
    receiver = StoreScp(f"{code}_PACS", port, folder / code)
    receiver.start()
    return receiver


def uid_of(name: str) -> str:
    return str(STUDIES["studies"][name]["study_uid"])


def digests_of(*names: str) -> list[str]:
    return sorted(digest for name in names for digest in STUDIES["studies"][name]["instances"])


def digests(receiver: StoreScp) -> list[str]:
    held: list[Any] = list(receiver.held())
    return sorted(held)
