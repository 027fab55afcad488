"""Starting what belongs to a demonstration but not to the stack, so that `make down` finds it again."""

from __future__ import annotations

import time
from dataclasses import replace

from imex.local.home import Home
from imex.local.process import Identity, Launch, StartFailed, start
from imex.local.strays import MARK_HOME, MARK_PART, strays


def ensure_running(home: Home, launch: Launch) -> None:
    """Start a party unless it runs already, and wait until it is ready; raises `StartFailed`."""
    if any(strays(home.root, launch.name)) and launch.probe.ready():
        return
    if launch.probe.ready():
        raise StartFailed(f"{launch.probe.target} is in use by another program; {launch.name} needs it")
    marks = {MARK_HOME: str(home.root), MARK_PART: launch.name}
    child = start(replace(launch, environment={**launch.environment, **marks}))
    identity = Identity.of(child.pid)
    if identity is not None:
        identity.save(home.pid_file(launch.name))
    deadline = time.monotonic() + launch.start_within_s
    while not launch.probe.ready():
        if child.poll() is not None or time.monotonic() > deadline:
            raise StartFailed(f"{launch.name} did not start; its log is {launch.log}")
        time.sleep(0.05)
