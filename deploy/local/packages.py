"""Operating-system packages: installed where we may, else the command is printed. Standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MINIMUM_JAVA = 17


class Missing(RuntimeError):
    """Something is not installed and we may not install it; the text has the command to run."""


@dataclass(frozen=True)
class Need:
    """A Debian package, how to tell that what it brings is there, and which targets want it.

    What is not `essential` is installed where we may, and done without elsewhere.
    """

    package: str
    there: Callable[[], bool]
    targets: frozenset[str]
    essential: bool = True


_RUNNING = frozenset({"up", "demo", "test", "bench", "faults", "interop"})
_WITH_PEERS = frozenset({"demo", "test", "bench", "faults", "interop"})


def _program(*names: str) -> Callable[[], bool]:
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/go/bin", "/usr/sbin"))
    return lambda: any(shutil.which(name, path=places) for name in names)


def _postgresql() -> bool:
    return bool(shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb")))


def _ensurepip() -> bool:
    answer = subprocess.run(
        [sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False
    )
    return answer.returncode == 0


def needs() -> list[Need]:
    """Everything the local stack and its tests take from the system."""
    python = f"python3.{sys.version_info.minor}-venv"
    return [
        Need(
            python, _ensurepip, frozenset({*_RUNNING, "check", "schemas", "schemas-check", "down", "reset"})
        ),
        Need("default-jre-headless", _program("java"), _RUNNING),
        Need("maven", _program("mvn"), _RUNNING),
        Need("postgresql", _postgresql, _RUNNING),
        Need("dcmtk", _program("storescp"), _WITH_PEERS),
        Need("orthanc", _program("Orthanc"), _WITH_PEERS, essential=False),
        Need("chromium", _program("chromium", "chromium-browser", "google-chrome"), frozenset({"test"})),
    ]


def ensure(target: str) -> None:
    """Have every package that a target needs; raises `Missing` before anything is changed otherwise."""
    missing = [need for need in needs() if target in need.targets and not need.there()]
    if not missing:
        return
    names = [need.package for need in missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        essential = [need.package for need in missing if need.essential]
        if essential:
            raise Missing(
                f"not installed: {', '.join(essential)}. Run: sudo apt-get install -y {' '.join(names)}"
            )
        return
    _install(names)
    still = [need.package for need in missing if need.essential and not need.there()]
    if still:
        raise Missing(f"apt-get did not bring: {', '.join(still)}")


def _install(names: list[str]) -> None:
    print(f"  installing {', '.join(names)} …", file=sys.stderr, flush=True)
    # Runlevel 1 keeps the packages' own services from being started: the stack starts what it needs.
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *names],
    ):
        result = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
        if result.returncode != 0 and command[1] == "install":
            tail = "\n".join((result.stdout + result.stderr).splitlines()[-10:])
            raise Missing(f"{' '.join(command)} failed:\n{tail}")
