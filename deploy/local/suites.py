"""`make check`, `test`, `faults`, `fuzz`, `interop`: what runs, in which order, and one closing summary."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

BIN = Path(sys.executable).parent
PYTEST = (sys.executable, "-m", "pytest")
WORKERS = ("-n", "2", "--dist", "loadfile")


@dataclass(frozen=True)
class Step:
    """One command of a suite; a pytest run also tells its counts."""

    name: str
    argv: tuple[str, ...]

    @property
    def counted(self) -> bool:
        """Whether it is a run of pytest."""
        return self.argv[: len(PYTEST)] == PYTEST


def steps(suite: str) -> list[Step]:
    """What a suite runs, in order."""
    match suite:
        case "check":
            own = sorted(str(path) for path in Path("deploy/local").glob("*.py"))
            return [
                Step("lint", (str(BIN / "ruff"), "check", ".")),
                Step("format", (str(BIN / "ruff"), "format", "--check", ".")),
                Step("types", (str(BIN / "mypy"),)),
                Step("types of set-up", ("env", "MYPYPATH=deploy/local", str(BIN / "mypy"), *own)),
                Step("import rules", (str(BIN / "lint-imports"), "--no-cache")),
                Step("schemas", (sys.executable, "-m", "imex.schemas", "--check")),
                Step("conformance statement", (sys.executable, "-m", "imex.conformance", "--check")),
                Step("unit tests", (*PYTEST, "tests/unit", "tests/situations", *WORKERS)),
            ]
        case "faults":
            return [Step("fault matrix", (*PYTEST, "tests/faults"))]
        case "fuzz":
            lock = ("--require-hashes", "-r", "tests/fuzz/requirements.lock")
            return [
                Step("fuzzer", (sys.executable, "-m", "pip", "install", "-q", *lock)),
                Step("coverage-guided inputs", (sys.executable, "-m", "imex.testing.fuzz")),
            ]
        case "interop":
            table = ("--interop-table", "docs/interoperability.md")
            return [
                Step("peers", (sys.executable, "-m", "imex.testing.interop")),
                Step("interoperability matrix", (*PYTEST, "tests/interop", *table)),
            ]
        case _:
            return [
                *_pytest("unit tests", ("tests/unit", "tests/situations", "tests/fuzz"), *WORKERS),
                *_pytest(
                    "contract and integration tests",
                    ("tests/contract", "tests/integration"),
                    *("-m", "not alone", *WORKERS),
                ),
                *_pytest("integration tests that run alone", ("tests/integration",), "-m", "alone"),
                *_pytest("end-to-end tests", ("tests/e2e",)),
            ]


def _pytest(name: str, folders: tuple[str, ...], *options: str) -> list[Step]:
    """A run of pytest over the folders that have tests; pytest calls an empty run a failure."""
    found = [folder for folder in folders if any(Path(folder).rglob("test_*.py"))]
    return [Step(name, (*PYTEST, *found, *options))] if found else []


def main() -> int:
    """Run every step of the suite named on the command line; 1 when one fails, after all have run."""
    suite = sys.argv[1]
    began = time.monotonic()
    counts: Counter[str] = Counter()
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, step in enumerate(steps(suite)):
            print(f"── {step.name}", flush=True)
            report = Path(scratch) / f"{number}.xml"
            extra = (f"--junit-xml={report}",) if step.counted else ()
            if subprocess.run((*step.argv, *extra), check=False).returncode != 0:
                failed.append(step.name)
            if report.exists():
                counts += _counts(report)
    spent = f"in {time.monotonic() - began:.0f} s"
    tests = ", ".join(f"{number} {word}" for word, number in counts.items()) or "no tests"
    print(
        f"── make {suite}: {tests} {spent}" + (f"; FAILED: {', '.join(failed)}" if failed else ": all good")
    )
    return 1 if failed else 0


def _counts(report: Path) -> Counter[str]:
    """How many tests passed, failed and were skipped, from pytest's own report."""
    found: Counter[str] = Counter()
    root = ElementTree.parse(report).getroot()  # noqa: S314  pytest wrote it
    for suite in root.iter("testsuite"):
        bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        found["passed"] += int(suite.get("tests", 0)) - bad - skipped
        found["failed"] += bad
        found["skipped"] += skipped
    return found


if __name__ == "__main__":
    sys.exit(main())
