"""Downloads that are made once and kept: `${XDG_CACHE_HOME:-~/.cache}/imex`."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_TICK_S = 5.0


class PartUnavailable(RuntimeError):
    """A part of the stack can not be had on this machine; the text says what to do."""


def cache_dir() -> Path:
    """The directory that all downloads are kept in; created when absent."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(base) / "imex"
    path.mkdir(parents=True, exist_ok=True)
    return path


def cached(name: str, build: Callable[[Path], None]) -> Path:
    """The file or directory `name` of the cache, made by `build(target)` when it is not there yet.

    `build` writes to a temporary place beside it, which is renamed when it is complete: what has the
    name is whole. Two processes that want the same thing wait for one another.
    """
    final = cache_dir() / name
    if final.exists():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with _locked(cache_dir() / "lock"):
        if final.exists():
            return final
        with tempfile.TemporaryDirectory(prefix=".new-", dir=cache_dir()) as scratch:
            target = Path(scratch) / final.name
            build(target)
            target.rename(final)
    return final


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run_shown(what: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """Run a long command with a line of progress every few seconds.

    Raises `PartUnavailable` with the end of its output when it fails.
    """
    started = time.monotonic()
    done = threading.Event()

    def tick() -> None:
        while not done.wait(_TICK_S):
            print(f"  {what} … {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    print(f"  {what} …", file=sys.stderr, flush=True)
    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        result = subprocess.run(
            list(argv),
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
    finally:
        done.set()
        ticker.join()
    if result.returncode != 0:
        tail = "\n".join(result.stdout.splitlines()[-15:])
        raise PartUnavailable(f"{what} failed ({argv[0]} ended with {result.returncode}):\n{tail}")
    print(f"  {what}: done in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def tool(name: str, debian_package: str) -> str:
    """The path of a program in PATH; raises `PartUnavailable` that names the package otherwise."""
    found = shutil.which(name)
    if found is None:
        raise PartUnavailable(f"{name} is not installed; run: apt-get install -y {debian_package}")
    return found
