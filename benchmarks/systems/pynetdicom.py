"""pynetdicom: an acceptor that writes and syncs, and if it forwards, one association onwards."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.corpus import Corpus, Study
from benchmarks.systems.port import empty, end, listening
from imex.local.ports import free_ports


class Pynetdicom:
    """Two acceptors, one that forwards and one that only keeps."""

    name = "pynetdicom"
    called = "PYNETDICOM"
    calling = "BENCH_A"

    def __init__(self, folder: Path, receiver_port: int) -> None:
        self._folder = folder
        self._receiver_port = receiver_port
        self.port, self._keeping_port = free_ports(2)
        self._forwarding_port = self.port
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """New folders and the acceptors."""
        for port, onwards in ((self._forwarding_port, self._receiver_port), (self._keeping_port, 0)):
            folder = self._folder / str(port)
            folder.mkdir(parents=True)
            self._processes.append(_node("serve", str(port), str(folder), str(onwards)))
            listening(port)

    def processes(self) -> Mapping[str, int]:
        """One of them is always idle."""
        return {f"pynetdicom-{number}": process.pid for number, process in enumerate(self._processes)}

    @contextmanager
    def receiving_only(self) -> Iterator[str]:
        """Speak to the one that does not forward."""
        self.port = self._keeping_port
        try:
            yield self.calling
        finally:
            self.port = self._forwarding_port

    def taken(self, associations: Sequence[Sequence[Study]]) -> None:
        """It forwards by itself."""

    def hold_and_send(self, corpus: Corpus, study: Study) -> None:
        """An SCU of its own, files on one association."""
        folder = self._folder / str(self._keeping_port) / study.study
        corpus.write(study, folder)
        _node("send", str(self._receiver_port), str(folder)).wait()

    def clean(self) -> None:
        """Delete the files."""
        for folder in self._folder.iterdir():
            empty(folder)

    def stop(self) -> None:
        """End it and delete what it stored."""
        for process in self._processes:
            end(process)
        shutil.rmtree(self._folder, ignore_errors=True)


def _node(*arguments: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "benchmarks.systems.pynetdicom_node", *arguments]
    return subprocess.Popen(argv, cwd=Path(__file__).parents[2])
