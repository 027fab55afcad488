"""What the Makefile calls: sets the checkout up, then runs a target. Standard library only.

python3 deploy/local/main.py up|down|reset|demo|check|test|bench|faults|fuzz|interop|schemas|schemas-check
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import environment
import packages

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv" / "bin" / "python"

STACK = ("up", "demo", "down", "reset")
SUITES = ("check", "test", "faults", "fuzz", "interop")
MODULES = {
    "bench": ("-m", "benchmarks"),
    "schemas": ("-m", "imex.schemas"),
    "schemas-check": ("-m", "imex.schemas", "--check"),
}


def command_of(target: str) -> list[str]:
    """The command inside the virtual environment that does what a target says."""
    if target in STACK:
        return [str(PYTHON), "-m", "imex.local", target]
    if target in SUITES:
        return [str(PYTHON), str(Path(__file__).with_name("suites.py")), target]
    return [str(PYTHON), *MODULES[target]]


def main() -> int:
    """Set up what the target needs and become its command; 1 with a reason on stderr when that fails."""
    targets = (*STACK, *SUITES, *MODULES)
    if len(sys.argv) != 2 or sys.argv[1] not in targets:
        print(f"usage: main.py {'|'.join(targets)}", file=sys.stderr)
        return 2
    target = sys.argv[1]
    os.chdir(ROOT)
    try:
        packages.ensure(target)
        environment.ensure(ROOT)
    except (packages.Missing, environment.SetUpFailed) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    command = command_of(target)
    return os.spawnv(os.P_WAIT, command[0], command)  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
