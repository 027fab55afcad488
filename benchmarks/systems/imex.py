"""Imex, whole: all services on real Kafka, MinIO, PostgreSQL and Zipkin."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from benchmarks.corpus import Corpus, Study
from benchmarks.ends import Sending, order
from benchmarks.systems.port import RECEIVER
from imex.local.control import supervisor_of
from imex.testing.stack import LocalStack

STREAMS = "BENCH_E"
"""A sender whose studies an emergency rule sends on, image by image."""
WHOLE = "BENCH_R"
"""A sender whose studies a routine rule sends on when they are complete, after a second of quiet."""
KEPT = "BENCH_N"
"""A sender whose studies no rule sends on."""

_IN_FORCE_S = 3.0
"""The time within which a directory is promised to be in force everywhere."""
_BEHIND_INGEST = ("validation", "routing", "delivery", "audit", "portal", "zipkin")


class Imex:
    """A stack under a home: the one that runs there, or one of its own for the time of the benchmark."""

    name = "Imex"
    called = "IMEX"
    calling = STREAMS

    def __init__(self, home: Path, receiver_port: int) -> None:
        self._stack = LocalStack(home)
        self._receiver_port = receiver_port
        self._own = False
        self.port = 0

    def start(self) -> None:
        """The stack, with a directory that names the two ends."""
        self._own = supervisor_of(self._stack.home) is None
        if self._own:
            self._stack.up()
        self.port = int(self._stack.described["dicom"]["port"])
        file = self._stack.home.root / "bench-directory.yaml"
        file.write_text(yaml.safe_dump(directory(self._receiver_port)))
        applied = self._stack.imex("directory", "apply", str(file))
        if applied.returncode != 0:
            raise RuntimeError(applied.stderr)
        time.sleep(_IN_FORCE_S)

    def processes(self) -> Mapping[str, int]:
        """As `stack.json` names them."""
        return {name: int(part["pid"]) for name, part in self._stack.described["processes"].items()}

    @contextmanager
    def receiving_only(self) -> Iterator[str]:
        """Ingest alone works, with Kafka and MinIO; what comes after it is held, and no rule matches."""
        held = [pid for name, pid in self.processes().items() if name.startswith(_BEHIND_INGEST)]
        for pid in held:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield KEPT
        finally:
            for pid in held:
                os.kill(pid, signal.SIGCONT)

    def taken(self, associations: Sequence[Sequence[Study]]) -> None:
        """It passes on by itself."""

    def hold_and_send(self, corpus: Corpus, study: Study) -> None:
        """Send it as a routine study, which leaves when all of it is there."""
        Sending(order(corpus, self.port, WHOLE, self.called, [[study]])).result()

    def clean(self) -> None:
        """It keeps what it has."""

    def stop(self) -> None:
        """Stop and delete it if it is the benchmark's own."""
        if self._own:
            self._stack.run("reset")


def directory(receiver_port: int) -> Mapping[str, object]:
    """Three institutions that send and one that receives at the benchmark's receiver."""
    senders = {"BNE": STREAMS, "BNR": WHOLE, "BNN": KEPT}
    endpoint = {
        "name": "pacs", "type": "dicom", "ae_title": RECEIVER, "host": "127.0.0.1", "port": receiver_port,
        "accepts": {"max_associations": 2, "sop_classes": "any"},
    }  # fmt: skip
    return {
        "institutions": [
            *(
                {"code": code, "name": code, "kind": "nhs", "senders": [{"ae_title": ae_title}]}
                for code, ae_title in senders.items()
            ),
            {"code": "BNB", "name": "B", "kind": "nhs", "endpoints": [endpoint]},
        ],
        "agreements": [
            {
                "id": "bench", "from": list(senders), "to": "BNB", "purposes": ["direct-care"],
                "legal_basis": "synthetic", "valid_from": "2026-01-01", "valid_until": "2036-01-01",
            }
        ],
        "rules": [
            {"id": "streams", "match": {"source": "BNE"}, "to": "BNB", "priority": "emergency", "quiet_s": 2},
            {"id": "whole", "match": {"source": "BNR"}, "to": "BNB", "priority": "routine", "quiet_s": 1},
        ],
    }  # fmt: skip
