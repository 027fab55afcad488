"""One part as a process: what to start, how to tell that it is ready, how to find and stop it again."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

_POLL_S = 0.05


class StartFailed(RuntimeError):
    """A part did not become ready in time; the text names the part and its log."""


@dataclass(frozen=True)
class Probe:
    """How to tell that a part is ready: a TCP connection, an HTTP 200, or PostgreSQL asking who is there."""

    kind: Literal["tcp", "http", "postgres"]
    target: str

    def ready(self, timeout_s: float = 1.0) -> bool:
        """Whether the part answers now."""
        return _READY[self.kind](self.target, timeout_s)


def _tcp_ready(address: str, timeout_s: float) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=timeout_s).close()
    except OSError:
        return False
    return True


def _http_ready(url: str, timeout_s: float) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


_POSTGRES_HELLO = struct.pack("!II", 41, 196608) + b"user\0postgres\0database\0postgres\0\0"


def _postgres_ready(address: str, timeout_s: float) -> bool:
    """PostgreSQL's protocol, "Start-up": a server still in recovery answers with an error message (E)."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=timeout_s) as connection:
            connection.sendall(_POSTGRES_HELLO)
            return connection.recv(1) == b"R"
    except OSError:
        return False


_READY = {"tcp": _tcp_ready, "http": _http_ready, "postgres": _postgres_ready}


@dataclass(frozen=True)
class Launch:
    """Everything needed to start a part.

    `user`, when set, is the system user it runs as (PostgreSQL refuses root). `environment` is added to a
    minimal one. Times are in seconds.
    """

    name: str
    argv: tuple[str, ...]
    probe: Probe
    cwd: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: int = signal.SIGTERM
    stop_within_s: float = 15.0
    start_within_s: float = 60.0
    health: str | None = None
    metrics: str | None = None


@dataclass(frozen=True)
class Identity:
    """A process that stays recognisable when its id is used again: id and start time since boot."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The identity of a running process; None when there is none or only a zombie."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        if fields[0] in {"Z", "X"}:
            return None
        return cls(pid, int(fields[19]), boot)

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Identity.of(self.pid) == self

    def save(self, path: Path) -> None:
        """Write it as a pid file, at once whole."""
        write_private(path, json.dumps({"pid": self.pid, "started": self.started, "boot": self.boot}))

    @classmethod
    def load(cls, path: Path) -> Identity | None:
        """Read a pid file; None when there is none or it can not be understood."""
        try:
            found = json.loads(path.read_text())
            return cls(int(found["pid"]), int(found["started"]), str(found["boot"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    fresh.replace(path)


_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "JAVA_HOME", "SSL_CERT_FILE", "XDG_CACHE_HOME")


def start(launch: Launch) -> subprocess.Popen[bytes]:
    """Start a part in a session of its own, its output appended to its log."""
    launch.log.parent.mkdir(parents=True, exist_ok=True)
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    with launch.log.open("ab") as log:
        return subprocess.Popen(
            launch.argv,
            cwd=launch.cwd,
            env={**environment, **launch.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=launch.user,
            group=_group_of(launch.user),
            extra_groups=None if launch.user is None else [],
        )


def _group_of(user: str | None) -> int | None:
    if user is None:
        return None
    import pwd

    return pwd.getpwnam(user).pw_gid


def stop(identity: Identity, stop_signal: int, within_s: float) -> None:
    """Ask a process to end, and end its whole group when it has not within the time given."""
    if not identity.alive():
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(identity.pid, stop_signal)
    if not _gone(identity, within_s):
        kill(identity)
        _gone(identity, 5.0)


def kill(identity: Identity) -> None:
    """End a process and its group at once (SIGKILL)."""
    if identity.alive():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(identity.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(identity.pid, signal.SIGKILL)


def _gone(identity: Identity, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while identity.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


class Part:
    """A part that this very process starts and stops: what tests use; the stack has its supervisor."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self._process: subprocess.Popen[bytes] | None = None
        self._identity: Identity | None = None

    @property
    def pid(self) -> int:
        """The process id; raises `StartFailed` when it is not running."""
        if self._process is None:
            raise StartFailed(f"{self.launch.name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready; raises `StartFailed`."""
        deadline = time.monotonic() + self.launch.start_within_s
        self._process = start(self.launch)
        self._identity = Identity.of(self._process.pid)
        while not self.launch.probe.ready():
            ended = self._process.poll()
            if ended is not None or time.monotonic() > deadline:
                self.kill()
                raise StartFailed(f"{self.launch.name} did not start; its log is {self.launch.log}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Stop it in order, bounded by its `stop_within_s`."""
        if self._process is None:
            return
        self._process.send_signal(self.launch.stop_signal)
        try:
            self._process.wait(self.launch.stop_within_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL)."""
        if self._process is not None and self._identity is not None:
            kill(self._identity)
            self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Freeze it (SIGSTOP): its connections stay, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)
