"""A whole stack for tests, with a home and ports of its own.

with running_stack(tmp_path / "home") as stack:
    stack.described["api"]
    gone = stack.kill("kafka")
    stack.wait_back("kafka", gone)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imex.local.control import state, supervisor_of
from imex.local.home import Home
from imex.local.secrets import SERVICES

BACK_WITHIN_S = 10.0
"""How soon a part that was killed must be ready again."""

_POLL_S = 0.05
_COMMAND_WITHIN_S = 330.0


class LocalStack:
    """A stack under a home; every command runs as its own process, as `make` would run it."""

    def __init__(self, home: Path) -> None:
        self.home = Home(home.resolve(), default=False)

    @property
    def described(self) -> Mapping[str, Any]:
        """`stack.json` as it is now."""
        found: Mapping[str, Any] = json.loads(self.home.stack_file.read_text())
        return found

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which the stack's commands and `imex` find it."""
        return {**os.environ, "IMEX_HOME": str(self.home.root), "IMEX_PORTS": "auto"}

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run `up`, `down`, `reset` or `demo`."""
        return self._run(sys.executable, "-m", "imex.local", command)

    def imex(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command `imex` against this stack."""
        return self._run(str(Path(sys.executable).with_name("imex")), *arguments)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_COMMAND_WITHIN_S,
            check=False,
        )

    def up(self) -> None:
        """Start it and wait until it is ready; raises AssertionError with what `up` said otherwise."""
        done = self.run("up")
        assert done.returncode == 0, f"up failed: {done.stderr}{self._ends_of_logs()}"

    def _ends_of_logs(self) -> str:
        """The last words of our own processes; the bought-in parts say little of use."""
        logs = (self.home.log(name) for name in (*SERVICES, "setup", "furnish", "supervisor"))
        written = (log for log in logs if log.exists())
        return "".join(f"\n── {log.name}\n{log.read_text(errors='replace')[-800:]}" for log in written)

    def pid(self, part: str) -> int:
        """The process id of a part as `stack.json` names it."""
        return int(self.described["processes"][part]["pid"])

    def kill(self, part: str) -> int:
        """End a part as a crash would; gives back the id that it had."""
        pid = self.pid(part)
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_supervisor(self) -> None:
        """End the supervisor as a crash would; the parts go on without it."""
        supervisor = supervisor_of(self.home)
        assert supervisor is not None
        os.kill(supervisor.pid, signal.SIGKILL)
        wait_until(lambda: not supervisor.alive(), 5.0, "the supervisor is gone")

    def wait_back(self, part: str, gone: int, within_s: float = BACK_WITHIN_S) -> None:
        """Wait until a part is ready again under another process id, and `stack.json` names it."""

        def back() -> bool:
            now = state(self.home)["parts"].get(part, {})
            named = self.described["processes"].get(part, {}).get("pid")
            return bool(now.get("ready")) and now["pid"] != gone and named == now["pid"]

        wait_until(back, within_s, f"{part} is back")


def wait_until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    """Poll until something holds; raises AssertionError that says what did not."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(_POLL_S)


@contextmanager
def running_stack(home: Path) -> Iterator[LocalStack]:
    """A stack that is up; at the end it is stopped and its home deleted."""
    stack = LocalStack(home)
    try:
        stack.up()
        yield stack
    finally:
        stack.run("reset")
