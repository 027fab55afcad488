"""Legitimate traffic beside whatever a test does to a port, and the memory of the processes that bear it.

with Bystander(echoes={"plain": ["echoscu", ...]}, pids={"ingest": 4711}) as seen:
    ...
print(seen.report())
seen.unharmed()
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

MIB = 1024 * 1024
WITHIN_S = 2.0
GROWTH = 100 * MIB
_PAUSE_S = 0.1
_GIVE_UP_S = 30.0


def resident(pid: int) -> int:
    """Bytes of a process that are in memory."""
    return _status(pid, "VmRSS:")


def peak(pid: int) -> int:
    """Most bytes of a process that have been in memory since it began."""
    return _status(pid, "VmHWM:")


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


@dataclass
class Bystander:
    """C-ECHO after C-ECHO by commands that exit with 0, and the memory of processes, sampled."""

    echoes: Mapping[str, Sequence[str]]
    pids: Mapping[str, int]
    latencies: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    grown: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Bystander:
        self._over = threading.Event()
        self._before = {name: resident(pid) for name, pid in self.pids.items()}
        self._threads = [threading.Thread(target=self._sample)]
        for name, command in self.echoes.items():
            self.latencies[name] = []
            self._threads.append(threading.Thread(target=self._echo, args=(name, command)))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def report(self) -> str:
        """What was measured, in lines."""
        lines = [
            f"C-ECHO {name}: {len(seconds)} answered, slowest {max(seconds, default=0.0) * 1000:.0f} ms"
            for name, seconds in self.latencies.items()
        ]
        lines += [
            f"{name}: grew by {size / MIB:.0f} MiB to at most {(self._before[name] + size) / MIB:.0f} MiB"
            for name, size in self.grown.items()
        ]
        return "\n".join(lines)

    def unharmed(self) -> None:
        """Every C-ECHO was answered in time, and no process grew too much."""
        assert not self.failures, self.failures
        for name, seconds in self.latencies.items():
            assert seconds, f"no C-ECHO on {name}"
            assert max(seconds) < WITHIN_S, f"a C-ECHO on {name} took {max(seconds):.2f} s"
        for name, size in self.grown.items():
            assert size < GROWTH, f"{name} grew by {size / MIB:.0f} MiB"

    def _echo(self, name: str, command: Sequence[str]) -> None:
        while True:
            began = time.monotonic()
            try:
                done = subprocess.run(command, capture_output=True, timeout=_GIVE_UP_S, check=False)
            except subprocess.TimeoutExpired:
                self.failures.append(f"{name}: no answer in {_GIVE_UP_S} s")
                return
            if done.returncode != 0:
                self.failures.append(f"{name}: {done.stderr.decode(errors='replace')[-300:]}")
            self.latencies[name].append(time.monotonic() - began)
            if self._over.wait(_PAUSE_S):
                return

    def _sample(self) -> None:
        over = False
        while not over:
            over = self._over.wait(_PAUSE_S / 2)
            for name, pid in self.pids.items():
                size = resident(pid) - self._before[name]
                self.grown[name] = max(size, self.grown.get(name, 0))
