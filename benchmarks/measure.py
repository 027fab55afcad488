"""What is measured of one round: images a second, and the CPU that each process spent on an image."""

from __future__ import annotations

import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

_NUMBER = re.compile(r"[-_.]?\d+$")
_RESTING_CORES = 0.08
"""A system is at rest when its processes together use less than half as much again as when idle, and this."""
_LOOK_S = 0.5
_IDLE_LOOK_S = 3.0


@dataclass(frozen=True)
class Round:
    """One batch carried by one system."""

    images: int
    seconds: float
    cpu_ms: Mapping[str, float]
    """CPU milliseconds an image, by process; the ends are `sender` and `receiver`."""

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds

    @property
    def system_cpu_ms(self) -> float:
        """CPU milliseconds an image of the system's own processes."""
        return sum(spent for name, spent in self.cpu_ms.items() if name not in {"sender", "receiver"})


Processes = Callable[[], Mapping[str, int]]


def cpu_seconds(processes: Mapping[str, int]) -> dict[str, float]:
    """CPU time so far by name: a process, and all it has started (PostgreSQL works in its children).

    Processes whose names differ in a number at the end are one: `ingest-1` and `ingest-2` are `ingest`.
    """
    spent: dict[str, float] = defaultdict(float)
    for name, pid in processes.items():
        spent[_NUMBER.sub("", name)] += _with_children(pid)
    return dict(spent)


def _with_children(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        spent = times.user + times.system + times.children_user + times.children_system
        return float(spent) + sum(_with_children(child.pid) for child in process.children())
    except psutil.NoSuchProcess:
        return 0.0


@dataclass(frozen=True)
class Reading:
    """CPU seconds so far by process, and when they were read."""

    at: float
    cpu_s: Mapping[str, float]


class Meter:
    """The CPU of one system's processes, of which it knows what they use when nothing is asked of them."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self.idle: Mapping[str, float] = {}
        """Cores, by process."""

    def learn_idle(self, within_s: float = 30.0) -> None:
        """Measure what it uses at rest: waits until that no longer falls."""
        deadline = time.monotonic() + within_s
        best = self._used_in(_IDLE_LOOK_S)
        while True:
            used = self._used_in(_IDLE_LOOK_S)
            settled = sum(used.values()) > 0.9 * sum(best.values())
            best = min(best, used, key=lambda each: sum(each.values()))
            if settled or time.monotonic() > deadline:
                break
        self.idle = best

    def _used_in(self, seconds: float) -> Mapping[str, float]:
        before = self.read()
        time.sleep(seconds)
        after = self.read()
        return {name: spent / (after.at - before.at) for name, spent in used(before, after).items()}

    def read(self) -> Reading:
        """The CPU time so far."""
        return Reading(time.monotonic(), cpu_seconds(self._processes()))

    def at_rest(self, within_s: float = 15.0) -> Reading:
        """Wait until it has done all that a round left it to do."""
        deadline = time.monotonic() + within_s
        now = self.read()
        while time.monotonic() < deadline:
            time.sleep(_LOOK_S)
            before, now = now, self.read()
            cores = sum(used(before, now).values()) / (now.at - before.at)
            if cores < 1.5 * sum(self.idle.values()) + _RESTING_CORES:
                break
        return now

    def spent_ms(self, before: Reading, after: Reading, images: int, busy_until: float) -> dict[str, float]:
        """CPU milliseconds an image by process.

        What came after `busy_until`, when the last image had arrived, counts as far as it is more than the
        system uses at rest: the wait for its end is the benchmark's, not the image's.
        """
        waited = max(0.0, after.at - busy_until)
        return {
            name: 1000 * max(0.0, spent - waited * self.idle.get(name, 0.0)) / images
            for name, spent in used(before, after).items()
        }


def used(before: Reading, after: Reading) -> Mapping[str, float]:
    """CPU seconds by process between two readings."""
    return {name: spent - before.cpu_s.get(name, 0.0) for name, spent in after.cpu_s.items()}


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)
