"""The virtual environment `.venv`, made from the lock file. Standard library only.

uv installs in seconds what pip installs in a minute, so uv is fetched once into the cache; without it, or
where it fails, pip does the same work. The hashes of the lock file hold either way.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MINIMUM = (3, 11)
UV = "uv>=0.9"


class SetUpFailed(RuntimeError):
    """The environment could not be made; the text has the end of what the tool said."""


def ensure(root: Path) -> None:
    """Have `.venv` as the lock file says, with the project in it; nothing happens when it already is so."""
    if sys.version_info < MINIMUM:
        raise SetUpFailed(f"Python 3.11 or later is needed, this is {sys.version.split()[0]}")
    venv = root / ".venv"
    stamp = venv / ".imex-stamp"
    wanted = _fingerprint(root)
    if _is(stamp, wanted):
        return
    with _alone(root):
        if _is(stamp, wanted):
            return
        if not _works(venv):
            _say("making .venv")
            _run([sys.executable, "-m", "venv", "--clear", str(venv)])
        _install(root, venv)
        stamp.write_text(wanted)


def _fingerprint(root: Path) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for name in ("requirements.lock", "pyproject.toml"):
        digest.update((root / name).read_bytes())
    return f"{digest.hexdigest()} {root}"


def _is(stamp: Path, wanted: str) -> bool:
    return stamp.exists() and stamp.read_text() == wanted and _works(stamp.parent)


def _works(venv: Path) -> bool:
    python = venv / "bin" / "python"
    if not python.exists():
        return False
    return subprocess.run([python, "-c", "pass"], capture_output=True, check=False).returncode == 0


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Two targets at once in one checkout take turns."""
    name = hashlib.sha256(str(root).encode()).hexdigest()[:16]
    with (_cache() / f"checkout-{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _cache() -> Path:
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "imex"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _install(root: Path, venv: Path) -> None:
    lock = str(root / "requirements.lock")
    _say("installing the libraries of requirements.lock")
    uv = _uv()
    if uv is not None:
        into = [uv, "pip", "install", "-q", "--python", str(venv / "bin" / "python"), *_index_of_pip()]
        try:
            _run([*into, "--require-hashes", "-r", lock])
            _run([*into, "--no-deps", "-e", str(root)])
        except SetUpFailed:
            _say("uv failed; going on with pip")
        else:
            return
    python = str(venv / "bin" / "python")
    if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode != 0:
        _run([python, "-m", "ensurepip"])
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _run([*pip, "--require-hashes", "-r", lock])
    _run([*pip, "--no-deps", "-e", str(root)])


def _uv() -> str | None:
    """uv from PATH, or from the cache, where it is put at the first call; None where it can not be had."""
    installed = shutil.which("uv")
    if installed is not None:
        return installed
    tools = _cache() / "uv"
    program = tools / "bin" / "uv"
    if not program.exists():
        try:
            _run([sys.executable, "-m", "venv", "--clear", str(tools)])
            _run([str(tools / "bin" / "python"), "-m", "pip", "install", "-q", UV])
        except SetUpFailed:
            return None
    return str(program)


def _index_of_pip() -> list[str]:
    """Make uv ask where pip has been told to ask."""
    stated = os.environ.get("PIP_INDEX_URL", "")
    if not stated:
        asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        stated = answer.stdout.strip() if answer.returncode == 0 else ""
    return ["--default-index", stated] if stated else []


def _run(argv: list[str]) -> None:
    trusting = {"UV_NATIVE_TLS": "1", "UV_SYSTEM_CERTS": "1", **os.environ}
    result = subprocess.run(argv, env=trusting, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        tail = "\n".join((result.stdout + result.stderr).splitlines()[-15:])
        raise SetUpFailed(f"{' '.join(argv[:6])} failed:\n{tail}")


def _say(line: str) -> None:
    print(f"  {line} …", file=sys.stderr, flush=True)
