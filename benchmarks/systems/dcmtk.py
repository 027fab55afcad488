"""DCMTK's chain: `storescp` writes what it receives, without a sync; then `dcmsend` sends the files."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.corpus import Corpus, Study
from benchmarks.systems.port import RECEIVER, empty, end, listening
from imex.local.ports import free_ports
from imex.local.programs import dcmtk

_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
"""Without it DCMTK waits for acknowledgements that the peer delays, and the delay is what is measured."""


def program() -> str | None:
    """Where it is installed."""
    return dcmtk("storescp") and dcmtk("dcmsend")


class Dcmtk:
    """A process for each association, and as many `dcmsend` as there were senders, when all have ended."""

    name = "DCMTK"
    called = "STORESCP"
    calling = "BENCH_A"

    def __init__(self, folder: Path, receiver_port: int) -> None:
        self._folder = folder
        self._receiver_port = receiver_port
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._shell: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """A new folder and the acceptor."""
        self._folder.mkdir(parents=True)
        self._process = subprocess.Popen(
            [
                str(dcmtk("storescp")), "--fork", "-aet", self.called, "--max-pdu", "131072",
                "--bit-preserving",
                "-od", str(self._folder), str(self.port),
            ],
            env=_ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._shell = subprocess.Popen(
            ["sh"], env=_ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        listening(self.port)

    def processes(self) -> Mapping[str, int]:
        """The acceptor and the shell that starts the senders: a process's children count as the process."""
        assert self._process is not None and self._shell is not None
        return {"storescp": self._process.pid, "dcmsend": self._shell.pid}

    @contextmanager
    def receiving_only(self) -> Iterator[str]:
        """It does nothing else by itself."""
        yield self.calling

    def taken(self, associations: Sequence[Sequence[Study]]) -> None:
        """Send the files of each association; a file's name is the modality and the SOP Instance UID."""
        held = {path.name.partition(".")[2]: path for path in self._folder.iterdir()}
        self._dcmsend(
            [[held[uid] for study in studies for _, uid in study.instances] for studies in associations]
        )

    def _dcmsend(self, files_of_each: Sequence[Sequence[Path]]) -> None:
        assert self._shell is not None and self._shell.stdin is not None and self._shell.stdout is not None
        ends = ["-aet", self.called, "-aec", RECEIVER, "127.0.0.1", str(self._receiver_port)]
        argv = [str(dcmtk("dcmsend")), *ends]
        for files in files_of_each:
            line = shlex.join([*argv, *(str(file) for file in files)]) + " >/dev/null 2>&1 &\n"
            self._shell.stdin.write(line.encode())
        self._shell.stdin.write(b"wait; echo done\n")
        self._shell.stdin.flush()
        self._shell.stdout.readline()

    def hold_and_send(self, corpus: Corpus, study: Study) -> None:
        """One `dcmsend`."""
        self._dcmsend([corpus.write(study, self._folder / study.study)])

    def clean(self) -> None:
        """Delete the files."""
        empty(self._folder)

    def stop(self) -> None:
        """End it and delete what it stored."""
        end(self._shell)
        end(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)
