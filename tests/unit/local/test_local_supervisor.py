"""The supervisor against small programs in place of the real parts."""

import json
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imex.local.control import down, state
from imex.local.home import Home
from imex.local.plan import Stage, Task
from imex.local.ports import free_ports
from imex.local.process import Identity, Launch, Probe
from imex.local.strays import strays
from imex.local.supervisor import Supervisor
from imex.testing.stack import wait_until

LISTEN = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    time.sleep(60)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home", default=False)
    made.root.mkdir()
    yield made
    down(made)


def part(home: Home, name: str, program: str = LISTEN) -> Launch:
    (port,) = free_ports(1)
    argv = (sys.executable, "-c", textwrap.dedent(program), str(port))
    probe = Probe("tcp", f"127.0.0.1:{port}")
    return Launch(name, argv, probe, home.root, home.log(name), stop_within_s=2.0, start_within_s=10.0)


@pytest.fixture
def supervise(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[Stage]], Supervisor]]:
    """Run a supervisor in a thread; the signals that would stop it are left to the test run."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    running: list[tuple[Supervisor, threading.Thread]] = []

    def begin(stages: list[Stage]) -> Supervisor:
        supervisor = Supervisor(home, stages, lambda _launches, _pids: None)
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        running.append((supervisor, thread))
        return supervisor

    yield begin
    for supervisor, thread in running:
        supervisor.ask_to_stop()
        thread.join(10)


def ready(home: Home, name: str) -> bool:
    return bool(state(home)["parts"].get(name, {}).get("ready"))


def test_stages_start_in_order_with_the_task_between_them(
    home: Home, supervise: Callable[[list[Stage]], Supervisor]
) -> None:
    first = part(home, "first")
    port = first.probe.target.rpartition(":")[2]
    check = f"import socket; socket.create_connection(('127.0.0.1', {port})); open('checked', 'w').close()"
    second = part(home, "second", "import pathlib; assert pathlib.Path('checked').exists()\n" + LISTEN)

    supervise([Stage([first], Task("check", (sys.executable, "-c", check))), Stage([second])])

    wait_until(lambda: state(home)["phase"] == "ready", 10, "both stages are ready")
    assert state(home)["parts"]["second"]["restarts"] == 0


def test_what_dies_is_started_again(home: Home, supervise: Callable[[list[Stage]], Supervisor]) -> None:
    supervise([Stage([part(home, "one")])])
    wait_until(lambda: ready(home, "one"), 10, "one is ready")
    gone = state(home)["parts"]["one"]["pid"]

    os.kill(gone, signal.SIGKILL)

    wait_until(lambda: ready(home, "one") and state(home)["parts"]["one"]["pid"] != gone, 10, "one is back")
    assert state(home)["parts"]["one"]["restarts"] == 1


def test_a_part_that_never_starts_is_named_and_the_others_are_stopped(
    home: Home, supervise: Callable[[list[Stage]], Supervisor]
) -> None:
    supervise([Stage([part(home, "good"), part(home, "broken", "raise SystemExit(3)")])])

    wait_until(lambda: state(home)["phase"] == "failed", 20, "the failure is noted")

    assert "broken" in state(home)["problem"]
    assert str(home.log("broken")) in state(home)["problem"]
    wait_until(lambda: not any(strays(home.root)), 10, "nothing is left running")


def test_a_failed_task_fails_the_start(home: Home, supervise: Callable[[list[Stage]], Supervisor]) -> None:
    supervise([Stage([part(home, "one")], Task("prepare", (sys.executable, "-c", "raise SystemExit(1)")))])

    wait_until(lambda: state(home)["phase"] == "failed", 20, "the failure is noted")

    assert "prepare" in state(home)["problem"]


def test_stopping_ends_every_part_also_one_that_does_not_listen_to_signals(
    home: Home, supervise: Callable[[list[Stage]], Supervisor]
) -> None:
    deaf = part(home, "deaf", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + LISTEN)
    supervisor = supervise([Stage([part(home, "one"), deaf])])
    wait_until(lambda: ready(home, "one") and ready(home, "deaf"), 10, "both are ready")

    supervisor.ask_to_stop()

    wait_until(lambda: not any(strays(home.root)), 10, "nothing is left running")


def test_a_process_that_took_over_a_noted_id_is_not_touched(home: Home) -> None:
    own = Identity.of(os.getpid())
    assert own is not None
    noted = {"pid": own.pid, "started": own.started - 1, "boot": own.boot}
    (home.root / "pids").mkdir()
    home.pid_file("supervisor").write_text(json.dumps(noted))

    assert down(home) is False
    assert own.alive()
