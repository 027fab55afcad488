"""What every system under test offers to the scenarios."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from benchmarks.corpus import Corpus, Study

RECEIVER = "BENCH_B"
"""The AE title of the receiver."""


class System(Protocol):
    """Something that takes images on a DICOM port and hands them on to the receiver."""

    name: str
    called: str
    calling: str
    port: int

    def start(self) -> None:
        """Begin to listen."""

    def processes(self) -> Mapping[str, int]:
        """Name to process id of all that belongs to it."""

    def receiving_only(self) -> AbstractContextManager[str]:
        """For a while only receive; gives the calling AE title for which it does."""

    def taken(self, associations: Sequence[Sequence[Study]]) -> None:
        """The senders are done: what a system that must be told does now."""

    def hold_and_send(self, corpus: Corpus, study: Study) -> None:
        """Have a study, and when all of it is there send it on; may return before it has arrived."""

    def clean(self) -> None:
        """Between rounds: make room where that can be done."""

    def stop(self) -> None:
        """End all of it."""


def listening(port: int, within_s: float = 30.0) -> None:
    """Wait until something listens; raises TimeoutError."""
    deadline = time.monotonic() + within_s
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens on port {port}")
        time.sleep(0.05)


def empty(folder: Path) -> None:
    """Delete what is in a folder."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def end(process: subprocess.Popen[bytes] | None) -> None:
    """Ask a process to end and wait for it."""
    if process is not None:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
