"""The commands behind `make up`, `down`, `reset` and `demo`; `supervise` is what `up` starts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from imex.local import control, layout
from imex.local.cache import PartUnavailable
from imex.local.home import Home
from imex.local.ports import PortsTaken
from imex.local.process import Launch, StartFailed
from imex.local.supervisor import Supervisor


def main() -> int:
    """Run one command; 0 on success."""
    parser = argparse.ArgumentParser(prog="imex.local", description="The native local stack.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "reset", "demo"):
        commands.add_parser(name)
    commands.add_parser("supervise").add_argument("home", type=Path)
    arguments = parser.parse_args()
    try:
        return _run(arguments)
    except (PartUnavailable, PortsTaken, StartFailed, control.StackFailed) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    home = Home.from_environment()
    match arguments.command:
        case "up":
            control.up(home, _say)
            _tell(home)
        case "down":
            print("stopped" if control.down(home) else "nothing was running")
        case "reset":
            control.reset(home)
            print("stopped; data deleted")
        case "demo":
            from imex.local.demo import run

            control.up(home, _say)
            return run(home, _say)
        case "supervise":
            supervise(Home(arguments.home, default=False))
    return 0


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def _tell(home: Home) -> None:
    told = layout.describe(home)
    dicom, query = told["dicom"], told["query"]
    print(f"portal  {told['portal']}")
    print(f"DICOM   {dicom['host']}:{dicom['port']}, with TLS {dicom['tls_port']} (IMEX)")
    print(f"queries {query['host']}:{query['port']}, with TLS {query['tls_port']} (IMEX)")
    print(f"traces  {told['traces']}\nall of it: {home.stack_file}\nstop with: make down")


def supervise(home: Home) -> None:
    """Be the supervisor of a home until told to stop."""

    def changed(launches: dict[str, Launch], pids: dict[str, int]) -> None:
        processes: dict[str, dict[str, Any]] = {}
        for name, launch in launches.items():
            links = {"health": launch.health, "metrics": launch.metrics}
            processes[name] = {"pid": pids[name], **{key: link for key, link in links.items() if link}}

        def put(stack: dict[str, Any]) -> None:
            described = layout.describe(home)
            described["tokens"] = {**stack.get("tokens", {}), **described["tokens"]}
            described["accounts"] = {**stack.get("accounts", {}), **described["accounts"]}
            described["tls"] = {**described["tls"], **stack.get("tls", {})}
            stack.update(described)
            stack["processes"] = processes

        home.update_stack(put)

    Supervisor(home, layout.stages(home), changed).run()


if __name__ == "__main__":
    sys.exit(main())
