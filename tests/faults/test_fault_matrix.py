"""Every part ended or frozen while traffic flows: what was acknowledged arrives, whatever the part was."""

import asyncio
import contextlib
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
BACK_WITHIN_S = 30.0
PARTS = (*SERVICES, "kafka", "minio", "postgres")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_what_was_acknowledged_arrives(part: str, fault: str, network: Network, outcomes: Outcomes) -> None:
    source, recipient = network.pair(priority="emergency", quiet_s=2)
    receiver = network.receiver(recipient)
    receiver.start()
    study = synthetic_study(INSTANCES, size=128)
    strikes: list[Strike] = []

    def reached(count: int) -> None:
        if count == FAULT_AT:
            strikes.append(Strike(network, part, fault))

    try:
        sending = send_patiently(network.dicom_port, source.ae_title, study.instances, reached, 240)
        acknowledged = asyncio.run(sending)
        assert set(acknowledged) == set(study.digests)
        began, back_s = strikes[0].began, strikes[0].back_after()
        network.wait_share(study.study_uid, "delivered", within_s=150)
        arrivals = Counter(receiver.held())
        assert set(arrivals) == set(study.digests.values())
        assert reconciled(network, 90)["unaccounted"] == []
        again = sum(arrivals.values()) - INSTANCES
        whole_s = time.monotonic() - began
        outcomes.rows.append(Outcome(part, fault, len(acknowledged), len(arrivals), again, back_s, whole_s))
    finally:
        receiver.stop()


class Strike:
    """Ends a part as a crash would, or stops it from running for a while, and times its return."""

    def __init__(self, network: Network, part: str, fault: str) -> None:
        self.began = time.monotonic()
        self._back_s: float | None = None
        self._failed: AssertionError | None = None
        if fault == "killed":
            pid = network.stack.kill(part)
            self._watch = threading.Thread(target=self._wait_back, args=(network, part, pid))
        else:
            pid = network.stack.pid(part)
            os.kill(pid, signal.SIGSTOP)
            self._watch = threading.Thread(target=self._thaw, args=(pid,))
        self._watch.start()

    def back_after(self) -> float:
        """Seconds until the part was ready again, or ran again."""
        self._watch.join()
        if self._failed is not None:
            raise self._failed
        assert self._back_s is not None
        return self._back_s

    def _wait_back(self, network: Network, part: str, pid: int) -> None:
        try:
            network.stack.wait_back(part, pid, BACK_WITHIN_S)
        except AssertionError as error:
            self._failed = error
        self._back_s = time.monotonic() - self.began

    def _thaw(self, pid: int) -> None:
        time.sleep(FROZEN_S)
        # where the supervisor has replaced it meanwhile there is nobody left to wake
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        self._back_s = time.monotonic() - self.began
