"""`python -m benchmarks before REF`: what this tree is worth beside an earlier one, in one alternating run.

The earlier tree is checked out beside this one and measured by its own benchmark, with this one's
libraries; who goes first takes turns.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import median

_ROOT = Path(__file__).parents[1]
_LINE = re.compile(r"^\d+ associations, median: (?P<rate>\d+) images/s, (?P<cpu>[\d.]+) CPU ms an image")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("ref", help="a commit, such as that of the release before")
    parser.add_argument("--turns", type=int, default=3, help="of both trees")
    parser.add_argument("--rounds", type=int, default=2, help="in a turn")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--associations", type=int, default=4)
    parser.add_argument("--rule", choices=("emergency", "routine"), default="routine")


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """Measure both in turns, and print the ratio of the medians."""
    with _tree(arguments.ref, scratch / "before") as earlier:
        trees = {"before": earlier, "now": _ROOT}
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in trees}
        for turn in range(arguments.turns):
            for name in sorted(trees, reverse=bool(turn % 2)):
                rate, cpu = _measured(trees[name], arguments)
                seen[name].append((rate, cpu))
                print(f"turn {turn + 1}, {name}: {rate:.0f} images/s, {cpu:.1f} CPU ms an image", flush=True)
    rates = {name: median([rate for rate, _ in rows]) for name, rows in seen.items()}
    cpus = {name: median([cpu for _, cpu in rows]) for name, rows in seen.items()}
    for name in trees:
        print(f"{name}, median: {rates[name]:.0f} images/s, {cpus[name]:.1f} CPU ms an image")
    print(f"now / before: {rates['now'] / rates['before']:.2f} of the images a second")
    return 0


@contextmanager
def _tree(ref: str, place: Path) -> Iterator[Path]:
    git = ("git", "-C", str(_ROOT), "worktree")
    subprocess.run((*git, "add", "--detach", "--quiet", str(place), ref), check=True)
    try:
        _environment(place)
        yield place
    finally:
        subprocess.run((*git, "remove", "--force", str(place)), check=True)


def _environment(tree: Path) -> None:
    """A virtual environment in the tree: its own code, and the libraries of the one that runs this."""
    venv.create(tree / ".venv", symlinks=True)
    libraries = sysconfig.get_path("purelib")
    own = Path(sysconfig.get_path("purelib", vars={"base": str(tree / ".venv")}))
    # a path that is named here is searched, but what it has in .pth files, such as this tree, is not
    (own / "tree.pth").write_text("\n".join((str(tree / "libs"), str(tree / "services"), libraries)) + "\n")
    command = tree / ".venv/bin/imex"
    command.write_text(f"#!{tree}/.venv/bin/python\nfrom imex.cli.main import main\n\nmain()\n")
    command.chmod(0o755)


def _measured(tree: Path, arguments: argparse.Namespace) -> tuple[float, float]:
    """Images a second and CPU milliseconds an image, the median of a turn's rounds."""
    command = [str(tree / ".venv/bin/python"), "-m", "benchmarks", "imex", "--rule", arguments.rule]
    command += ["--associations", str(arguments.associations), "--rounds", str(arguments.rounds)]
    command += ["--images", str(arguments.images)]
    done = subprocess.run(
        command,
        cwd=tree,
        env={**os.environ, "IMEX_PORTS": "auto"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = [match for line in done.stdout.splitlines() if (match := _LINE.match(line))]
    if done.returncode != 0 or not found:
        raise SystemExit(f"the benchmark of {tree} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return float(found[-1]["rate"]), float(found[-1]["cpu"])
