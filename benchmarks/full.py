"""`python -m benchmarks`: the whole comparison, all systems in turn in one run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import report, results, scenarios
from benchmarks.corpus import Corpus, ct, mixed
from benchmarks.ends import Receiver, SendingFailed
from benchmarks.measure import Meter, Round
from benchmarks.results import IMEX, Results
from benchmarks.scenarios import Bench
from benchmarks.steering import numbers
from benchmarks.systems.chosen import NAMES, chosen, missing
from benchmarks.systems.imex import STREAMS, WHOLE, Imex
from benchmarks.systems.port import System

_SCENARIOS = ("receive", "send", "end-to-end", "latency")
_LATENCY_SLICES = 20
_MIXED_ASSOCIATIONS = 4
_FAILURES = (SendingFailed, TimeoutError, AssertionError)
_SLOW = "pynetdicom"
"""Gets a quarter of the images, so that a run does not wait for it most of the time."""


def words(text: str) -> list[str]:
    """`imex,orthanc` as words."""
    return text.split(",")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=400, help="in a round")
    parser.add_argument("--associations", type=numbers, default=[1, 2, 4, 8], metavar="1,2,4,8")
    parser.add_argument("--systems", type=words, default=list(NAMES), metavar=",".join(NAMES))
    parser.add_argument("--scenarios", type=words, default=list(_SCENARIOS), metavar=",".join(_SCENARIOS))
    parser.add_argument("--corpora", type=words, default=["ct", "mixed"], metavar="ct,mixed")
    parser.add_argument("--routine", action="store_true", help="Imex end to end by a routine rule, too")
    parser.add_argument("--latency-studies", type=int, default=15)
    parser.add_argument("--home", type=Path, help="Imex's home; a stack that runs there is used")
    parser.add_argument("--json", type=Path, help="write the results, after every round")
    parser.add_argument(
        "--markdown", type=Path, help="write the tables, between a document's marks if it has any"
    )


@dataclass
class _Run:
    arguments: argparse.Namespace
    benches: list[Bench]
    results: Results

    def images_of(self, system: System) -> int:
        images: int = self.arguments.images
        return images // 4 if system.name == _SLOW else images

    def keep(
        self, scenario: str, corpus: Corpus, bench: Bench, associations: int, do: Callable[[], Round]
    ) -> None:
        """One round of one setting; a failure is a result, too."""
        name = bench.system.name
        series = self.results.of(scenario, corpus.name, name, associations)
        said = f"{scenario}, {corpus.name}, {name}, {associations} associations"
        try:
            done = do()
        except _FAILURES as problem:
            series.failures.append(str(problem))
            sys.stderr.write(f"  {said}: FAILED {problem}\n")
        else:
            series.add(done)
            sys.stderr.write(f"  {said}: {done.rate:.0f}/s, {done.system_cpu_ms:.1f} ms\n")
        bench.system.clean()


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """Run the rounds, print the tables; 0 also when a floor is not met."""
    for name in missing():
        if name in arguments.systems:
            sys.stderr.write(f"{name} is not installed and takes no part; run: apt-get install -y {name}\n")
    began = time.monotonic()
    receiver = Receiver()
    home = arguments.home or scratch / "home"
    systems = chosen(arguments.systems, scratch, home, receiver.port)
    benches = [Bench(system, receiver, Meter(system.processes)) for system in systems]
    this = _Run(arguments, benches, results.begun())
    corpora = [{"ct": ct, "mixed": mixed}[name](scratch) for name in arguments.corpora]
    try:
        for system in systems:
            system.start()
        _warm_up(this, corpora[0])
        for number in range(arguments.rounds):
            sys.stderr.write(f"round {number + 1} of {arguments.rounds}, {time.monotonic() - began:.0f} s\n")
            for corpus in corpora:
                _round(this, corpus)
            benches.reverse()
            this.results.rounds = number + 1
            _write(this)
        if "latency" in arguments.scenarios:
            _latency(this, corpora[0])
    finally:
        for system in systems:
            system.stop()
        receiver.stop()
    names = [system.name for system in systems]
    this.results.series.sort(key=lambda series: names.index(series.system))
    _write(this)
    report.show(this.results)
    print(f"took {(time.monotonic() - began) / 60:.0f} min")
    return 0


def _warm_up(this: _Run, corpus: Corpus) -> None:
    for bench in this.benches:
        system = bench.system
        bench.meter.learn_idle()
        for _ in range(2 if system.name == IMEX else 1):
            batch = corpus.batch(this.images_of(system), 4)
            scenarios.end_to_end(bench, corpus, batch, system.calling)
        scenarios.receive_only(bench, corpus, corpus.batch(100, 1))
        system.clean()
        bench.meter.learn_idle()
        this.results.idle_cores[system.name] = round(sum(bench.meter.idle.values()), 3)


def _round(this: _Run, corpus: Corpus) -> None:
    wanted = this.arguments.scenarios
    mix = corpus.name == results.MIXED
    associations = [_MIXED_ASSOCIATIONS] if mix else this.arguments.associations
    for number in associations:
        for bench in this.benches:
            if "receive" in wanted:
                _receive(this, corpus, bench, number)
        for bench in this.benches:
            if "end-to-end" in wanted:
                _end_to_end(this, corpus, bench, number)
    for bench in this.benches:
        if "send" in wanted:
            _send(this, corpus, bench)


def _receive(this: _Run, corpus: Corpus, bench: Bench, number: int) -> None:
    batch = corpus.batch(this.images_of(bench.system), number)
    this.keep(results.RECEIVE, corpus, bench, number, lambda: scenarios.receive_only(bench, corpus, batch))
    if isinstance(bench.system, Imex):
        other = corpus.batch(this.images_of(bench.system), number)
        this.keep(
            results.RECEIVE_WORKING,
            corpus,
            bench,
            number,
            lambda: scenarios.receive_while_working(bench, corpus, other),
        )


def _end_to_end(this: _Run, corpus: Corpus, bench: Bench, number: int) -> None:
    named = [(results.END_TO_END, bench.system.calling)]
    if isinstance(bench.system, Imex) and this.arguments.routine:
        named.append((results.ROUTINE, WHOLE))
    for scenario, calling in named:
        batch = corpus.batch(this.images_of(bench.system), number)

        def once(batch: scenarios.Batch = batch, calling: str = calling) -> Round:
            return scenarios.end_to_end(bench, corpus, batch, calling)

        this.keep(scenario, corpus, bench, number, once)


def _send(this: _Run, corpus: Corpus, bench: Bench) -> None:
    images = this.images_of(bench.system)
    this.keep(results.SEND, corpus, bench, 1, lambda: scenarios.send_only(bench, corpus, images))


def _latency(this: _Run, corpus: Corpus) -> None:
    for bench in this.benches:
        if isinstance(bench.system, Imex):
            for _ in range(this.arguments.latency_studies):
                try:
                    seen = scenarios.latency(bench, corpus, _LATENCY_SLICES, STREAMS)
                except _FAILURES as problem:
                    this.results.latency_failures.append(str(problem))
                    continue
                this.results.first_image_ms.append(round(1000 * seen.first, 1))
                this.results.last_image_ms.append(round(1000 * seen.last, 1))


def _write(this: _Run) -> None:
    if this.arguments.json is not None:
        this.arguments.json.write_text(this.results.model_dump_json(indent=1))
    if this.arguments.markdown is not None:
        write_markdown(this.results, this.arguments.markdown)


def write_markdown(found: Results, file: Path) -> None:
    """Put the tables into a document."""
    document = file.read_text() if file.exists() else ""
    file.write_text(report.placed(document, report.markdown(found)))
