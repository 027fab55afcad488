"""`python -m benchmarks lanes`: emergencies beside routine studies that queue, and more that come in.

Routine images are queued to a destination that takes little a second. Then routine traffic comes in at a
steady rate for another destination, and emergency studies are sent, one after the other, to a third: each is
timed from its first byte to its last image at the receiver. At the end the slow destination is made quick,
and every routine image must arrive.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.corpus import Corpus, Study, ct
from benchmarks.ends import Arrived, Receiver, Sending, order
from benchmarks.measure import median
from benchmarks.systems.port import RECEIVER
from imex.local.control import supervisor_of
from imex.testing.stack import LocalStack

MEDIAN_S = 1.0
WORST_S = 3.0
"""What the emergencies must keep within."""

EMERGENCY, TRAFFIC, BACKLOG = "BENCH_E", "BENCH_T", "BENCH_Q"
"""Calling AE titles of those who send emergencies, routine studies, and routine studies to who is slow."""
_CODES = {"BNE": EMERGENCY, "BNT": TRAFFIC, "BNQ": BACKLOG}
_STUDY = 100
_IN_FORCE_S = 3.0
_DRAIN_S = 300.0
_PAUSE_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--home", type=Path, help="a stack's home; used if it runs, else started and reset")
    parser.add_argument("--queued", type=int, default=2000, help="routine images for the slow destination")
    parser.add_argument("--mbps", type=float, default=8.0, help="what the slow destination takes")
    parser.add_argument("--rate", type=float, default=20.0, help="routine images a second that come in")
    parser.add_argument("--studies", type=int, default=20, help="emergencies")
    parser.add_argument("--slices", type=int, default=20, help="of each emergency")


@dataclass(frozen=True)
class Seen:
    """One emergency, in seconds from its first byte."""

    first: float
    last: float


@dataclass(frozen=True)
class _Ends:
    """Where the studies of each sender arrive."""

    emergency: Receiver
    traffic: Receiver
    slow: Receiver


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """Run it once; 1 where the emergencies took too long or a routine image did not arrive."""
    corpus = ct(scratch)
    stack = LocalStack(arguments.home or scratch / "home")
    with ExitStack() as leaving:
        ends = _Ends(*(leaving.enter_context(_receiver()) for _ in range(3)))
        if supervisor_of(stack.home) is None:
            leaving.callback(stack.run, "reset")
            stack.up()
        bench = _Bench(stack, corpus, ends, arguments)
        bench.warm_up()
        return bench.measure()


class _Bench:
    def __init__(self, stack: LocalStack, corpus: Corpus, ends: _Ends, arguments: argparse.Namespace) -> None:
        self._stack = stack
        self._corpus = corpus
        self._ends = ends
        self._wanted = arguments

    def warm_up(self) -> None:
        """Every process has done everything once."""
        self._apply(mbps=None)
        for calling, receiver in (
            (EMERGENCY, self._ends.emergency),
            (TRAFFIC, self._ends.traffic),
            (BACKLOG, self._ends.slow),
        ):
            study = self._corpus.study(self._wanted.slices)
            receiver.expect(self._wanted.slices)
            self._send(calling, [study])
            receiver.wait(study.uids, 60.0)

    def measure(self) -> int:
        """Queue, send, drain; the exit code."""
        self._apply(mbps=self._wanted.mbps)
        queued = self._corpus_of(self._wanted.queued)
        self._ends.slow.expect(self._wanted.queued)
        self._send(BACKLOG, queued)
        print(f"{self._wanted.queued} routine images are queued to a destination that takes"
              f" {self._wanted.mbps:g} Mbit/s", flush=True)  # fmt: skip
        lasting = 3.0 * self._wanted.studies + 10.0
        coming = [self._corpus.study(20) for _ in range(int(self._wanted.rate * lasting / 20))]
        images = sum(len(study.uids) for study in coming)
        self._ends.traffic.expect(images)
        traffic = Sending(
            order(self._corpus, self._port, TRAFFIC, "IMEX", [coming], every_s=1 / self._wanted.rate)
        )
        time.sleep(5.0)
        began = time.monotonic()
        seen: list[Seen] = []
        for number in range(self._wanted.studies):
            seen.append(self._emergency())
            print(f"emergency {number + 1}: first image {_ms(seen[-1].first)}, last {_ms(seen[-1].last)}",
                  flush=True)  # fmt: skip
            time.sleep(_PAUSE_S)
        ended = time.monotonic()
        sent = traffic.result()
        assert sent.last > ended, (
            "the routine traffic ended before the emergencies: fewer of them, or a lower rate"
        )
        self._apply(mbps=None)
        arrived = [
            self._ends.traffic.wait(_uids(coming), _DRAIN_S),
            self._ends.slow.wait(_uids(queued), _DRAIN_S),
        ]
        return _verdict(seen, arrived, began, ended, images + self._wanted.queued)

    def _emergency(self) -> Seen:
        study = self._corpus.study(self._wanted.slices)
        self._ends.emergency.expect(self._wanted.slices)
        sending = Sending(order(self._corpus, self._port, EMERGENCY, "IMEX", [[study]]))
        arrived = self._ends.emergency.wait(study.uids, 60.0)
        began = sending.result().first
        return Seen(arrived.first - began, arrived.last - began)

    def _corpus_of(self, images: int) -> list[Study]:
        sizes = [min(_STUDY, images - done) for done in range(0, images, _STUDY)]
        return [self._corpus.study(size) for size in sizes]

    def _send(self, calling: str, studies: Sequence[Study]) -> None:
        Sending(order(self._corpus, self._port, calling, "IMEX", [studies])).result()

    @property
    def _port(self) -> int:
        return int(self._stack.described["dicom"]["port"])

    def _apply(self, mbps: float | None) -> None:
        file = self._stack.home.root / "lanes-directory.yaml"
        file.write_text(yaml.safe_dump(directory(self._ends, mbps)))
        applied = self._stack.imex("directory", "apply", str(file))
        if applied.returncode != 0:
            raise RuntimeError(applied.stderr)
        time.sleep(_IN_FORCE_S)


def directory(ends: _Ends, mbps: float | None) -> Mapping[str, object]:
    """Three institutions that send, and one that receives for each of them; one may be slow."""
    ports = {"BNE": ends.emergency.port, "BNT": ends.traffic.port, "BNQ": ends.slow.port}
    slow = {"max_mbps": mbps} if mbps else {}
    return {
        "institutions": [
            part
            for code, ae_title in _CODES.items()
            for part in (
                {"code": code, "name": code, "kind": "nhs", "senders": [{"ae_title": ae_title}]},
                {
                    "code": f"{code}R", "name": f"{code} receives", "kind": "nhs",
                    "endpoints": [{
                        "name": "pacs", "type": "dicom", "ae_title": RECEIVER, "host": "127.0.0.1",
                        "port": ports[code],
                        "accepts": {"max_associations": 2, **(slow if code == "BNQ" else {})},
                    }],
                },
            )
        ],
        "agreements": [
            {
                "id": f"bench-{code}", "from": code, "to": f"{code}R", "purposes": ["direct-care"],
                "legal_basis": "synthetic", "valid_from": "2026-01-01", "valid_until": "2036-01-01",
            }
            for code in _CODES
        ],
        "rules": [
            {
                "id": f"rule-{code}", "match": {"source": code}, "to": f"{code}R", "quiet_s": 1,
                "priority": "emergency" if code == "BNE" else "routine",
            }
            for code in _CODES
        ],
    }  # fmt: skip


class _receiver(Receiver):  # noqa: N801  a context manager, used as a function
    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _uids(studies: Sequence[Study]) -> frozenset[str]:
    return frozenset(uid for study in studies for uid in study.uids)


def _verdict(
    seen: Sequence[Seen], arrived: Sequence[Arrived], began: float, ended: float, routine: int
) -> int:
    meanwhile = [sum(began <= at <= ended for at in each.arrivals.values()) for each in arrived]
    middle, worst = median([each.last for each in seen]), max(each.last for each in seen)
    print(f"first image: median {_ms(median([each.first for each in seen]))},"
          f" worst {_ms(max(each.first for each in seen))}")  # fmt: skip
    print(f"last image: median {_ms(middle)}, worst {_ms(worst)} of {len(seen)}")
    print(
        f"routine: all {routine} images arrived; in the {ended - began:.0f} s of the emergencies"
        f" {meanwhile[0]} of those that came in, and {meanwhile[1]} at the slow destination"
    )
    met = middle < MEDIAN_S and worst < WORST_S and all(meanwhile)
    print(f"wanted: median < {_ms(MEDIAN_S)}, worst < {_ms(WORST_S)}: {'met' if met else 'NOT met'}")
    return 0 if met else 1


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"
