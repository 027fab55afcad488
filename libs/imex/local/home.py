"""`IMEX_HOME`: everything one local stack keeps, and the `stack.json` that tells others about it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imex.local import ports
from imex.local.certificates import Certificates
from imex.local.process import write_private
from imex.local.secrets import Secrets, load_or_make


@dataclass(frozen=True)
class Home:
    """The directory of one stack."""

    root: Path
    default: bool

    @classmethod
    def from_environment(cls) -> Home:
        """`IMEX_HOME`, or `.imex` in the working directory."""
        stated = os.environ.get("IMEX_HOME", "")
        standard = Path.cwd() / ".imex"
        root = Path(stated).expanduser().resolve() if stated else standard.resolve()
        return cls(root, root == standard.resolve())

    @property
    def data(self) -> Path:
        """What the parts keep."""
        return self.root / "data"

    @property
    def stack_file(self) -> Path:
        """Where the running stack is described."""
        return self.root / "stack.json"

    @property
    def state_file(self) -> Path:
        """Where the supervisor says how far it is."""
        return self.root / "state.json"

    @property
    def certificates(self) -> Certificates:
        """The stack's certification authority and what it has issued."""
        return Certificates(self.root / "tls")

    def log(self, part: str) -> Path:
        """The log of a part."""
        return self.root / "logs" / f"{part}.log"

    def pid_file(self, part: str) -> Path:
        """Where the process of a part is noted."""
        return self.root / "pids" / f"{part}.json"

    def secrets(self) -> Secrets:
        """The stack's secrets, made at the first call."""
        return load_or_make(self.root / "secrets.json")

    def ports(self) -> dict[str, int]:
        """The ports chosen at the last start; raises FileNotFoundError before the first."""
        chosen: dict[str, int] = json.loads((self.root / "ports.json").read_text())
        return chosen

    def choose_ports(self, further: Collection[str] = ()) -> dict[str, int]:
        """Choose the ports for a start, those of `further` processes too, and note them; raises `PortsTaken`.

        The default home has fixed ports unless `IMEX_PORTS=auto`; any other home has free ones, so that
        stacks run side by side.
        """
        if self.default and os.environ.get("IMEX_PORTS", "") != "auto":
            chosen = ports.fixed(further)
        else:
            noted = self.root / "ports.json"
            chosen = ports.free((*ports.FIXED, *further), self.ports() if noted.exists() else None)
        write_private(self.root / "ports.json", json.dumps(chosen))
        return chosen

    def add_ports(self, further: Collection[str]) -> None:
        """Choose ports for those of these processes that have none, and leave the others as they are."""
        known = self.ports()
        missing = [name for name in (*ports.FIXED, *further) if name not in known]
        write_private(self.root / "ports.json", json.dumps(known | ports.free(missing)))

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Exclude other processes that take the same lock of this home."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f"{name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def update_stack(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change `stack.json` under a lock, replacing it whole; readable by its owner only."""
        with self.locked("stack"):
            known: dict[str, Any] = {}
            if self.stack_file.exists():
                known = json.loads(self.stack_file.read_text())
            before = json.dumps(known)
            change(known)
            if json.dumps(known) != before:
                write_private(self.stack_file, json.dumps(known, indent=1) + "\n")
