"""`python -m benchmarks imex`: Imex alone, a line for each round, to steer work on its speed."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.corpus import Corpus, ct, mixed
from benchmarks.ends import Receiver
from benchmarks.measure import Meter, Round, median
from benchmarks.scenarios import Bench, end_to_end, latency
from benchmarks.systems.imex import STREAMS, WHOLE, Imex


def numbers(text: str) -> list[int]:
    """`1,4` as numbers."""
    return [int(each) for each in text.split(",")]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--home", type=Path, help="a stack's home; used if it runs, else started and reset")
    parser.add_argument("--associations", type=numbers, default=[1, 4], help="1,4")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--corpus", choices=("ct", "mixed"), default="ct")
    parser.add_argument("--rule", choices=("emergency", "routine"), default="emergency")
    parser.add_argument("--latency", type=int, default=0, metavar="N", help="and N 20-slice studies, idle")
    parser.add_argument("--no-warm-up", action="store_true")


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """Run the rounds, with a line for each and the medians at the end."""
    corpus = (ct if arguments.corpus == "ct" else mixed)(scratch)
    calling = STREAMS if arguments.rule == "emergency" else WHOLE
    receiver = Receiver()
    system = Imex(arguments.home or scratch / "home", receiver.port)
    try:
        system.start()
        bench = Bench(system, receiver, Meter(system.processes))
        bench.meter.learn_idle()
        print(f"idle: {sum(bench.meter.idle.values()):.2f} cores; {_listed(bench.meter.idle)}", flush=True)
        if not arguments.no_warm_up:
            _say("warm-up", [end_to_end(bench, corpus, corpus.batch(400, 4), calling)])
        for senders in arguments.associations:
            done = []
            for number in range(1, arguments.rounds + 1):
                batch = corpus.batch(arguments.images, senders)
                done.append(end_to_end(bench, corpus, batch, calling))
                _say(f"{senders} associations, round {number}", done[-1:])
            _say(f"{senders} associations, median", done)
        if arguments.latency:
            _latency(bench, corpus, arguments.latency)
    finally:
        system.stop()
        receiver.stop()
    return 0


def _latency(bench: Bench, corpus: Corpus, studies: int) -> None:
    seen = [latency(bench, corpus, 20, STREAMS) for _ in range(studies)]
    first, last = ([1000 * getattr(each, which) for each in seen] for which in ("first", "last"))
    for name, values in (("first image", first), ("last of 20", last)):
        print(f"latency, {name}: median {median(values):.0f} ms ({min(values):.0f} to {max(values):.0f})")


def _say(what: str, done: Sequence[Round]) -> None:
    cpu = median([each.system_cpu_ms for each in done])
    rate = median([each.rate for each in done])
    print(f"{what}: {rate:.0f} images/s, {cpu:.1f} CPU ms an image; {_listed(by_process(done))}", flush=True)


def by_process(done: Sequence[Round]) -> Mapping[str, float]:
    """Medians of the CPU of each process, the greatest first."""
    names = {name for each in done for name in each.cpu_ms}
    medians = {name: median([each.cpu_ms.get(name, 0.0) for each in done]) for name in names}
    return dict(sorted(medians.items(), key=lambda entry: -entry[1]))


def _listed(cpu: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {spent:.2f}" for name, spent in cpu.items())
