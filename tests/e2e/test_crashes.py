"""Every service killed in turn while traffic flows: what got SUCCESS arrives, nothing else is repeated."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from imex.dimse import DimseError, connect
from imex.events import SERVICES
from imex.testing.dicom import SyntheticInstance, synthetic_study
from imex.testing.network import Institution, Network, reconciled
from imex.testing.peers import StoreScp, store

Receiving = Callable[[Institution], StoreScp]

INSTANCES = 60
KILL_AFTER = 15
UNCONFIRMED_AT_MOST = 50
"""Delivery writes outcomes down at least every so many instances: more than these cannot be in doubt."""


async def send_all(
    port: int,
    source: Institution,
    instances: Sequence[SyntheticInstance],
    reached: Callable[[int], None],
) -> Counter[str]:
    """Send one after the other as a patient sender does: again after a failure, until it got SUCCESS.

    Gives back how often each instance was answered with SUCCESS.
    """
    acknowledged: Counter[str] = Counter()
    waiting = list(instances)
    async with asyncio.timeout(120):
        while waiting:
            try:
                await send_some(port, source, waiting, acknowledged, reached)
            except DimseError:
                await asyncio.sleep(0.2)
    return acknowledged


async def send_some(
    port: int,
    source: Institution,
    waiting: list[SyntheticInstance],
    acknowledged: Counter[str],
    reached: Callable[[int], None],
) -> None:
    contexts = [(waiting[0].sop_class_uid, [waiting[0].transfer_syntax])]
    async with connect("127.0.0.1", port, source.ae_title, "IMEX", contexts) as association:
        while waiting:
            instance = waiting[0]
            answer = await store(association, instance)
            if answer.status != 0:
                await asyncio.sleep(0.2)
                continue
            acknowledged[instance.sop_instance_uid] += 1
            waiting.pop(0)
            reached(sum(acknowledged.values()))


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

    acknowledged = asyncio.run(send_all(network.dicom_port, source, study.instances, reached))
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
