"""Every part ended or frozen while traffic flows: what was acknowledged arrives, whatever the part was."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter

import pytest

from imex.events import SERVICES
from imex.testing.dicom import synthetic_study
from imex.testing.network import Network, reconciled
from imex.testing.outcomes import Outcome, Outcomes
from imex.testing.traffic import send_patiently

INSTANCES = 120
FAULT_AT = 30
FROZEN_S = 15.0
PARTS = (*SERVICES, "kafka", "minio", "postgres")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_what_was_acknowledged_arrives(part: str, fault: str, network: Network, outcomes: Outcomes) -> None:
    source, recipient = network.pair(priority="emergency", quiet_s=2)
    receiver = network.receiver(recipient)
    receiver.start()
    study = synthetic_study(INSTANCES, size=128)
    struck: list[tuple[int, float]] = []

    def reached(count: int) -> None:
        if count == FAULT_AT:
            struck.append((_strike(network, part, fault), time.monotonic()))

    try:
        sending = send_patiently(network.dicom_port, source.ae_title, study.instances, reached, 240)
        acknowledged = asyncio.run(sending)
        assert set(acknowledged) == set(study.digests)
        (pid, began) = struck[0]
        if fault == "killed":
            network.stack.wait_back(part, pid, 30)
        back_s = time.monotonic() - began
        network.wait_share(study.study_uid, "delivered", within_s=150)
        arrivals = Counter(receiver.held())
        assert set(arrivals) == set(study.digests.values())
        assert reconciled(network, 90)["unaccounted"] == []
        again = sum(arrivals.values()) - INSTANCES
        whole_s = time.monotonic() - began
        outcomes.rows.append(Outcome(part, fault, len(acknowledged), len(arrivals), again, back_s, whole_s))
    finally:
        receiver.stop()


def _strike(network: Network, part: str, fault: str) -> int:
    """End a part as a crash would, or stop it from running for a while; gives back its process id."""
    if fault == "killed":
        return network.stack.kill(part)
    pid = network.stack.pid(part)
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(FROZEN_S, lambda: _go_on(pid)).start()
    return pid


def _go_on(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return  # the supervisor has replaced it meanwhile, which is as good
