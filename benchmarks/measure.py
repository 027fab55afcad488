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
_QUIET_SHARE = 0.06
"""A system is at rest when its processes together use less than this share of one core."""
_LOOK_S = 0.4


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


def spent_ms(before: Mapping[str, float], after: Mapping[str, float], images: int) -> dict[str, float]:
    """CPU milliseconds an image by process between two readings."""
    return {name: 1000 * (after[name] - before.get(name, 0.0)) / images for name in after}


def at_rest(processes: Processes, within_s: float = 20.0) -> dict[str, float]:
    """Wait until a system has done all that a round left it to do; gives back the CPU time so far."""
    deadline = time.monotonic() + within_s
    now = cpu_seconds(processes())
    while time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        before, now = now, cpu_seconds(processes())
        if sum(now.values()) - sum(before.values()) < _QUIET_SHARE * _LOOK_S:
            break
    return now


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)
