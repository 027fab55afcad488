"""The two ends as the benchmark's own process holds them: it starts them, and reads what they saw."""

from __future__ import annotations

import json
import pickle
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.corpus import Corpus, Study
from benchmarks.sender import Order
from imex.local.ports import free_ports

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Sent:
    """What the senders saw, by the machine's monotonic clock in seconds."""

    first: float
    """Before the first byte of the first C-STORE."""
    last: float
    """After the answer to the last C-STORE."""
    cpu_s: float


@dataclass(frozen=True)
class Arrived:
    """What the receiver saw, by the machine's monotonic clock in seconds."""

    associated: float
    """The first request for an association."""
    arrivals: Mapping[str, float]
    """SOP Instance UID to the moment of its answer."""
    cpu_s: float

    @property
    def first(self) -> float:
        """The first answer."""
        return min(self.arrivals.values())

    @property
    def last(self) -> float:
        """The last answer."""
        return max(self.arrivals.values())


class SendingFailed(RuntimeError):
    """A system did not take what was sent; the text says why."""


class Sending:
    """Senders under way."""

    def __init__(self, order: Order) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sender"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(pickle.dumps(order))
        self._process.stdin.close()

    def result(self) -> Sent:
        """Wait for their end; raises SendingFailed."""
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.read() or b'{"problem": "the sender died"}')
        self._process.wait()
        if "problem" in told:
            raise SendingFailed(told["problem"])
        return Sent(**told)


def order(
    corpus: Corpus,
    port: int,
    calling: str,
    called: str,
    associations: Sequence[Sequence[Study]],
    *,
    every_s: float = 0.0,
) -> Order:
    """What to send where, and how fast."""
    return Order(port, calling, called, corpus.file, associations, every_s)


class Receiver:
    """The receiving process."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.receiver", str(self.port)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._rest = b""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def expect(self, images: int) -> None:
        """Begin to count."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"expect {images}\n".encode())
        assert self._line(10.0) == b"counting"

    def wait(self, uids: frozenset[str], within_s: float) -> Arrived:
        """What was expected, once it is there; raises TimeoutError, or AssertionError when other came."""
        arrived = Arrived(**json.loads(self._line(within_s)))
        assert arrived.arrivals.keys() == uids, "other images arrived than were sent"
        return arrived

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def _line(self, within_s: float) -> bytes:
        assert self._process.stdout is not None
        deadline = time.monotonic() + within_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"not everything arrived within {within_s:.0f} s")
                read = self._process.stdout.read(1 << 20)
                if not read:
                    raise RuntimeError("the receiver has died")
                self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return line
