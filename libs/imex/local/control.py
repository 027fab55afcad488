"""`up`, `down` and `reset`: starting and stopping the supervisor of a home, and clearing up after one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from imex.local import layout, postgres, processes
from imex.local.home import Home
from imex.local.process import Identity, kill, stop
from imex.local.strays import strays

_POLL_S = 0.1
_UP_WITHIN_S = 300.0
_DOWN_WITHIN_S = 60.0
_ORDER = (
    "portal",
    "audit",
    "delivery",
    "routing",
    "validation",
    "ingest",
    "zipkin",
    "kafka",
    "minio",
    "postgres",
)


class StackFailed(RuntimeError):
    """The stack did not start; the text says which part failed and where its log is."""


Say = Callable[[str], None]


def up(home: Home, say: Say) -> None:
    """Start the stack and wait until it is ready; nothing changes when it already is.

    Raises `StackFailed`, `PortsTaken` or `PartUnavailable`. What was started is stopped again then.
    """
    further = processes.extra()
    with home.locked("control"):
        layout.fetch(home)
        if supervisor_of(home) is None:
            _start(home, say, further)
        _wait_ready(home, say)


def supervisor_of(home: Home) -> Identity | None:
    """The running supervisor of a home, if there is one."""
    identity = Identity.load(home.pid_file("supervisor"))
    return identity if identity is not None and identity.alive() else None


def _start(home: Home, say: Say, further: Collection[str]) -> None:
    _end_unwanted(home, further)
    orphans = list(strays(home.root))
    home.state_file.unlink(missing_ok=True)
    if orphans:
        say(f"found {len(orphans)} processes of an earlier start; taking them over")
        home.add_ports(further)
    else:
        home.choose_ports(further)
    log = home.log("supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "imex.local", "supervise", str(home.root)],
            cwd=home.root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    identity = Identity.of(child.pid)
    if identity is not None:
        identity.save(home.pid_file("supervisor"))


def _end_unwanted(home: Home, further: Collection[str]) -> None:
    """End what an earlier start had more processes of than are wanted now."""
    for part in processes.possible():
        if part not in further and home.pid_file(part).exists():
            for identity in strays(home.root, part):
                stop(identity, 15, 10.0)
            home.pid_file(part).unlink(missing_ok=True)


def state(home: Home) -> Mapping[str, Any]:
    """What the supervisor last said: `phase`, `problem`, `parts`."""
    try:
        found: Mapping[str, Any] = json.loads(home.state_file.read_text())
    except (OSError, ValueError):
        return {"phase": "starting", "problem": None, "parts": {}}
    return found


def _wait_ready(home: Home, say: Say) -> None:
    told: set[str] = set()
    began = time.monotonic()
    while True:
        now = state(home)
        ready = {name for name, part in now["parts"].items() if part["ready"]}
        for name in sorted(ready - told):
            say(f"{time.monotonic() - began:5.1f} s  {name} is ready")
        told |= ready
        if now["phase"] == "ready" and ready == set(now["parts"]):
            return
        if supervisor_of(home) is None:
            _clear(home)
            raise StackFailed(now["problem"] or f"the supervisor ended; see {home.log('supervisor')}")
        if time.monotonic() - began > _UP_WITHIN_S:
            raise StackFailed(f"not ready within {_UP_WITHIN_S:.0f} s; see {home.root / 'logs'}")
        time.sleep(_POLL_S)


def down(home: Home) -> bool:
    """Stop everything that belongs to the home, also what an earlier supervisor left; data stay.

    Says whether anything ran.
    """
    if not home.root.exists():
        return False
    with home.locked("control"):
        supervisor = supervisor_of(home)
        if supervisor is not None:
            stop(supervisor, 15, _DOWN_WITHIN_S)
        return _clear(home) or supervisor is not None


def _clear(home: Home) -> bool:
    """End what is left of a stack without a supervisor, the services first."""
    left = False
    for part in (*processes.possible(), *_ORDER):
        if part not in _ORDER and not home.pid_file(part).exists():
            continue
        for identity in strays(home.root, part):
            left = True
            stop(identity, 2 if part == "postgres" else 15, 10.0)
    for identity in strays(home.root):
        left = True
        kill(identity)
    for pid_file in (home.root / "pids").glob("*.json"):
        pid_file.unlink(missing_ok=True)
    home.stack_file.unlink(missing_ok=True)
    home.state_file.unlink(missing_ok=True)
    return left


def reset(home: Home) -> None:
    """Stop everything and delete the home, data and secrets with it."""
    down(home)
    elsewhere = postgres.data_directory(home.data / "postgres", postgres.run_as())
    if home.root.exists():
        shutil.rmtree(home.root)
    if elsewhere.exists():
        shutil.rmtree(elsewhere)
