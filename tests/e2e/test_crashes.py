"""Every service killed in turn while traffic flows: what got SUCCESS arrives, nothing else is repeated."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from imex.events import SERVICES
from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network, reconciled
from imex.testing.peers import StoreScp
from imex.testing.traffic import send_patiently

Receiving = Callable[[Institution], StoreScp]

INSTANCES = 60
KILL_AFTER = 15
UNCONFIRMED_AT_MOST = 50
"""Delivery writes outcomes down at least every so many instances: more than these cannot be in doubt."""


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_loses_nothing_and_repeats_only_what_was_in_flight(
    service: str, network: Network, receiving: Receiving
) -> None:
    # an emergency streams, so that all services work while the sender still sends
    source, recipient = network.pair(priority="emergency", quiet_s=2)
    receiver = receiving(recipient)
    study = synthetic_study(INSTANCES, size=128)
    killed: list[int] = []

    def reached(count: int) -> None:
        if count == KILL_AFTER:
            killed.append(network.stack.kill(service))

    acknowledged = asyncio.run(send_patiently(network.dicom_port, source.ae_title, study.instances, reached))
    assert set(acknowledged) == set(study.digests)
    network.stack.wait_back(service, killed[0])
    share = network.wait_share(study.study_uid, "delivered", within_s=90)
    assert share["instances"]["delivered"] == INSTANCES

    arrivals = Counter(receiver.held())
    assert set(arrivals) == set(study.digests.values()), "all that got SUCCESS, with the sender's bytes"
    repeated = sum(arrivals.values()) - INSTANCES
    if service == "delivery":
        assert repeated <= UNCONFIRMED_AT_MOST
    else:
        assert repeated == 0
    balance = reconciled(network)
    assert balance["unaccounted"] == []
