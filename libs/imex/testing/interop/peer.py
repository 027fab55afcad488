"""What the matrix asks of a foreign implementation: to verify, to send files, to receive them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from imex.local.process import Probe
from imex.testing.dimse import Instance, read_instance

TIMEOUT_S = 90
_TCP_NODELAY = {"TCP_NODELAY": "1"}
"""DCMTK's own switch, without which each of its messages waits for a delayed acknowledgement."""


class PeerFailed(AssertionError):
    """A foreign program did not do what it was asked; the words are its own."""


@dataclass(frozen=True)
class PeerTls:
    """PEM files of the peer's own: whom it trusts, and the certificate and key that it shows."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Node:
    """Whom a peer calls and how it names itself; with `tls`, over TLS. Always on the loopback interface."""

    calling_ae: str
    called_ae: str
    port: int
    tls: PeerTls | None = None

    host = "127.0.0.1"


class Receiving(Protocol):
    """A receiver that runs."""

    @property
    def port(self) -> int:
        """The port it listens on."""

    def instances(self) -> list[Instance]:
        """What it has received, as it keeps it."""


@dataclass(frozen=True)
class KeepsFiles:
    """A receiver that writes a file for each instance into a folder of its own."""

    port: int
    folder: Path

    def instances(self) -> list[Instance]:
        """What the files are."""
        return [read_instance(path) for path in self.folder.iterdir()]


class Receiver(Protocol):
    """A peer that takes C-STORE and C-ECHO. `omits`: kinds of file that it cannot take, and why."""

    name: str
    omits: Mapping[str, str]

    def version(self) -> str:
        """What exactly was tried."""

    def receiving(
        self, ae_title: str, folder: Path, tls: PeerTls | None
    ) -> AbstractContextManager[Receiving]:
        """Listen on a free port until the block ends."""


class Sender(Protocol):
    """A peer that sends C-STORE and, where `echo` does not say otherwise, C-ECHO.

    `omits`: kinds of file that it cannot send as they are, and why. `encodes_anew`: why even a plain study is
    not sent byte for byte; empty where it is. `no_tls`: that it has no TLS; empty where it has.
    """

    name: str
    omits: Mapping[str, str]
    encodes_anew: str
    no_tls: str

    def version(self) -> str:
        """What exactly was tried."""

    def echo(self, node: Node, folder: Path) -> None:
        """C-ECHO. Raises PeerFailed where that does not succeed, NotImplementedError where it cannot."""

    def send(self, files: Sequence[Path], node: Node, folder: Path) -> None:
        """C-STORE every file in the transfer syntax that it has. Raises PeerFailed where one fails."""


@dataclass
class Program:
    """A foreign server as a process on a port of the loopback interface.

    `patient`: it is asked to stop rather than killed; what it keeps is deleted with the test either way.
    """

    argv: Sequence[str]
    port: int
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    patient: bool = True

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it, wait until its port answers, stop it at the end. Raises PeerFailed."""
        probe = Probe("tcp", f"127.0.0.1:{self.port}")
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_TCP_NODELAY, **self.environment},
            )
        try:
            for _ in range(200):
                if process.poll() is not None:
                    raise PeerFailed(f"{self.argv[0]} ended: {self.log.read_text()[-800:]}")
                if probe.ready(0.2):
                    break
                _wait(process)
            else:
                raise PeerFailed(f"{self.argv[0]} does not listen on {self.port}")
            yield
        finally:
            if self.patient:
                process.terminate()
            else:
                process.kill()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def run(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Run a foreign program to its end; what it said. Raises PeerFailed."""
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, **_TCP_NODELAY, **(environment or {})},
    )
    if done.returncode != 0:
        raise PeerFailed(f"{Path(argv[0]).name} ended with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def _wait(process: subprocess.Popen[bytes]) -> None:
    """A twentieth of a second, or less where the program ends before."""
    try:
        process.wait(0.05)
    except subprocess.TimeoutExpired:
        return
