"""Keeps the parts of one stack running: starts them in order, brings back what dies, stops them in order.

Every part is a session of its own with its output in a file, so that the end of the supervisor leaves it
as it is; the next supervisor finds it by its pid file or its environment, and takes it over.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import FrameType

from imex.local.home import Home
from imex.local.plan import Stage, Task
from imex.local.process import Identity, Launch, Probe, kill, start, stop, write_private
from imex.local.strays import MARK_HOME, MARK_PART, strays

_TICK_S = 0.1
_LOG_LIMIT_BYTES = 20_000_000
_LOG_CHECK_S = 5.0
_SETTLED_S = 5.0
"""A part that lived longer than this is started again at once; one that did not waits a little."""
_LONGEST_WAIT_S = 3.0
_GIVE_UP_AFTER = 5
"""A part that ended so often in a row before it was ever ready will not start: `up` says so at once."""


Changed = Callable[[dict[str, Launch], dict[str, int]], None]
"""Told what runs now: the launches and the process ids, by part."""


class SetUpFailed(RuntimeError):
    """A stage or task did not succeed; the text says which and where its log is."""


@dataclass
class _Watched:
    launch: Launch
    identity: Identity | None = None
    child: subprocess.Popen[bytes] | None = None
    ready: bool = False
    restarts: int = 0
    quick_deaths: int = 0
    started_at: float = 0.0
    not_before: float = 0.0

    def alive(self) -> bool:
        if self.child is not None and self.child.poll() is not None:
            return False
        return self.identity is not None and self.identity.alive()


class Supervisor:
    """The supervisor of one home. `changed` is called with what runs after every change."""

    def __init__(
        self,
        home: Home,
        stages: Sequence[Stage],
        changed: Callable[[dict[str, Launch], dict[str, int]], None],
    ) -> None:
        self._home = home
        self._stages = stages
        self._changed = changed
        self._watched: dict[str, _Watched] = {}
        self._stopping = False
        self._phase = "starting"
        self._problem: str | None = None
        self._logs_checked = 0.0

    def run(self) -> None:
        """Start everything and keep it running until SIGTERM or SIGINT; then stop everything."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        try:
            for stage in self._stages:
                self._bring_up(stage)
            if not self._stopping:
                self._phase = "ready"
        except SetUpFailed as problem:
            self._phase, self._problem = "failed", str(problem)
        self._note()
        while not self._stopping and self._phase != "failed":
            self._tick()
        self._stop_all()

    def ask_to_stop(self) -> None:
        """Make `run` stop everything and return."""
        self._stopping = True

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _bring_up(self, stage: Stage) -> None:
        for launch in stage.parts:
            self._watched[launch.name] = self._adopt(launch)
        names = [launch.name for launch in stage.parts]
        deadline = time.monotonic() + max((each.start_within_s for each in stage.parts), default=0.0)
        while not self._stopping and not all(self._watched[name].ready for name in names):
            self._tick()
            late = [name for name in names if not self._watched[name].ready]
            hopeless = [name for name in late if self._watched[name].quick_deaths >= _GIVE_UP_AFTER]
            if hopeless or time.monotonic() > deadline:
                late = hopeless or late
                logs = ", ".join(str(self._home.log(name)) for name in late)
                raise SetUpFailed(f"not ready: {', '.join(late)}; see {logs}")
        if stage.then is not None and not self._stopping:
            self._run_task(stage.then)

    def _run_task(self, task: Task) -> None:
        log = self._home.log(task.name)
        nothing = Probe("tcp", "127.0.0.1:0")
        launch = Launch(task.name, task.argv, nothing, self._home.root, log, task.environment)
        child = start(self._marked(launch))
        deadline = time.monotonic() + task.within_s
        while child.poll() is None:
            self._tick()
            if self._stopping or time.monotonic() > deadline:
                child.kill()
        if child.returncode != 0 and not self._stopping:
            raise SetUpFailed(f"{task.name} failed; see {log}")

    def _adopt(self, launch: Launch) -> _Watched:
        """Take over a running process of an earlier supervisor when it is what would be started now."""
        noted = self._home.pid_file(launch.name)
        identity = Identity.load(noted)
        watched = _Watched(launch)
        if identity is not None and identity.alive() and _signature_in(noted) == _signature(launch):
            watched.identity, watched.started_at = identity, time.monotonic()
        keep = watched.identity.pid if watched.identity is not None else None
        for stray in strays(self._home.root, launch.name):
            if keep is None:
                stop(stray, launch.stop_signal, launch.stop_within_s)
        return watched

    def _tick(self) -> None:
        now = time.monotonic()
        for watched in self._watched.values():
            if not watched.alive():
                self._revive(watched, now)
            elif not watched.ready and watched.launch.probe.ready(0.3):
                watched.ready = True
                self._note()
        if now - self._logs_checked > _LOG_CHECK_S:
            self._logs_checked = now
            self._bound_logs()
        time.sleep(_TICK_S)

    def _revive(self, watched: _Watched, now: float) -> None:
        if watched.identity is not None:
            self._count_death(watched, now)
        if self._stopping or now < watched.not_before:
            return
        try:
            watched.child = start(self._marked(watched.launch))
        except OSError as problem:
            watched.not_before = now + _LONGEST_WAIT_S
            print(f"{watched.launch.name} can not be started: {problem}", flush=True)
            return
        watched.started_at = now
        watched.identity = Identity.of(watched.child.pid)
        if watched.identity is not None:
            _save(watched.identity, watched.launch, self._home.pid_file(watched.launch.name))
        self._note()

    def _count_death(self, watched: _Watched, now: float) -> None:
        print(
            f"{watched.launch.name} (process {watched.identity and watched.identity.pid}) ended", flush=True
        )
        short = now - watched.started_at < _SETTLED_S
        watched.quick_deaths = watched.quick_deaths + 1 if short else 0
        watched.restarts += 1
        watched.not_before = now + min(_LONGEST_WAIT_S, 0.25 * watched.quick_deaths)
        watched.identity, watched.child, watched.ready = None, None, False

    def _marked(self, launch: Launch) -> Launch:
        marks = {MARK_HOME: str(self._home.root), MARK_PART: launch.name}
        return replace(launch, environment={**launch.environment, **marks})

    def _note(self) -> None:
        """Say how far we are, for `make up` to wait on and for `stack.json`."""
        parts = {
            name: {
                "pid": watched.identity.pid if watched.identity else None,
                "ready": watched.ready,
                "restarts": watched.restarts,
            }
            for name, watched in self._watched.items()
        }
        state = {"phase": self._phase, "problem": self._problem, "parts": parts}
        write_private(self._home.state_file, json.dumps(state))
        running = {name: watched for name, watched in self._watched.items() if watched.identity is not None}
        self._changed(
            {name: watched.launch for name, watched in running.items()},
            {name: watched.identity.pid for name, watched in running.items() if watched.identity},
        )

    def _bound_logs(self) -> None:
        """Keep a log and one older one; parts append, so that cutting the file under them is safe."""
        for log in (self._home.root / "logs").glob("*.log"):
            if log.stat().st_size > _LOG_LIMIT_BYTES:
                shutil.copyfile(log, log.with_suffix(".log.1"))
                with log.open("r+b") as handle:
                    handle.truncate(0)

    def _stop_all(self) -> None:
        for stage in reversed(self._stages):
            stop_together(self._home, stage.parts)
        if self._phase != "failed":
            self._home.state_file.unlink(missing_ok=True)


def stop_together(home: Home, launches: Sequence[Launch]) -> None:
    """Stop the parts of a stage at the same time, each within its own bound, and forget their pid files."""
    asked = []
    for launch in launches:
        identity = Identity.load(home.pid_file(launch.name))
        if identity is not None and identity.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(identity.pid, launch.stop_signal)
            asked.append((launch, identity))
    deadline = time.monotonic() + max((launch.stop_within_s for launch, _ in asked), default=0.0)
    while time.monotonic() < deadline and any(identity.alive() for _, identity in asked):
        time.sleep(_TICK_S / 2)
    for _, identity in asked:
        kill(identity)
    for launch in launches:
        home.pid_file(launch.name).unlink(missing_ok=True)


def _signature(launch: Launch) -> str:
    stated = json.dumps([launch.argv, sorted(launch.environment.items()), launch.user, str(launch.cwd)])
    return sha256(stated.encode()).hexdigest()


def _signature_in(pid_file: Path) -> str | None:
    try:
        found = json.loads(pid_file.read_text()).get("signature")
    except (OSError, ValueError):
        return None
    return found if isinstance(found, str) else None


def _save(identity: Identity, launch: Launch, path: Path) -> None:
    noted = {"pid": identity.pid, "started": identity.started, "boot": identity.boot}
    write_private(path, json.dumps({**noted, "signature": _signature(launch)}))
