"""What is measured of one round: images a second, and the CPU that each process spent on an image."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Round:
    """One corpus carried by one system."""

    images: int
    seconds: float
    """From the start of the senders to the answer for the last image at the receiver."""
    cpu_ms: Mapping[str, float]
    """CPU milliseconds an image, by process."""

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


class Receiver:
    """The receiving process and the arrivals it has told of."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.receiver", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._arrivals: dict[str, float] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait(self, uids: frozenset[str], within_s: float) -> float:
        """The moment at which the last of them had arrived; raises TimeoutError."""
        deadline = time.monotonic() + within_s
        with self._changed:
            while missing := uids - self._arrivals.keys():
                self._changed.wait(1.0)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(missing)} of {len(uids)} images did not arrive")
            return max(self._arrivals[uid] for uid in uids)

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            uid, _, moment = line.partition(" ")
            with self._changed:
                self._arrivals[uid] = float(moment)
                self._changed.notify_all()


def cpu_seconds(processes: Mapping[str, int]) -> dict[str, float]:
    """CPU time so far by name: a process, and all it has started (PostgreSQL works in its children)."""
    return {name: _with_children(psutil.Process(pid)) for name, pid in processes.items()}


def _with_children(process: psutil.Process) -> float:
    times = process.cpu_times()
    spent = times.user + times.system + times.children_user + times.children_system
    return float(spent) + sum(_with_children(child) for child in process.children())


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)
