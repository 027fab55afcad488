"""`make bench`: end to end, Imex beside Orthanc, alternating in one run; medians of the rounds.

Both take CT slices of 512 KB from the same senders (DCMTK's `dcmsend`) and hand them on to the same
receiver, which keeps nothing. CPU is of the systems' own processes, without senders and receivers.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.corpus import Corpus, corpus
from benchmarks.measure import Receiver, Round, cpu_seconds, median
from benchmarks.systems import SENDER, System, installed
from imex.local.ports import free_ports

WITHIN_S = 300.0


def main() -> int:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4])
    arguments = parser.parse_args()
    if shutil.which("dcmsend") is None:
        sys.stderr.write("make bench sends with DCMTK; run: apt-get install -y dcmtk\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="imex-bench-") as scratch:
        results = _run(Path(scratch), arguments.images, arguments.rounds, arguments.associations)
    _print(results, arguments.images, arguments.rounds)
    return 0


Results = dict[tuple[str, int], list[Round]]


def _run(scratch: Path, images: int, rounds: int, associations: list[int]) -> Results:
    receivers = [Receiver(port) for port in free_ports(2)]
    systems = installed(scratch, [receiver.port for receiver in receivers])
    results: Results = defaultdict(list)
    try:
        for system in systems:
            system.start()
            _listening(system.port)
        for number in range(rounds + 1):
            for senders in associations:
                for system, receiver in zip(systems, receivers, strict=False):
                    sent = corpus(scratch, f"{system.name}-{senders}-{number}", images)
                    done = _round(system, receiver, sent, senders)
                    sent.remove()
                    what = "warm-up" if number == 0 else f"round {number}"
                    sys.stderr.write(f"  {what}: {system.name}, {senders} associations: {done.rate:.0f}/s\n")
                    if number:
                        results[(system.name, senders)].append(done)
    finally:
        for system in systems:
            system.stop()
        for receiver in receivers:
            receiver.stop()
    return results


def _round(system: System, receiver: Receiver, sent: Corpus, senders: int) -> Round:
    before = cpu_seconds(system.processes())
    began = time.monotonic()
    argv = ["dcmsend", "-aet", SENDER, "-aec", system.called, "127.0.0.1", str(system.port)]
    # without it DCMTK waits for acknowledgements that the peer delays, and the delay is what is measured
    environment = {**os.environ, "TCP_NODELAY": "1"}
    sending = [
        subprocess.Popen(
            argv + [str(file) for file in files],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for files in sent.shares(senders)
    ]
    arrived = receiver.wait(sent.uids, WITHIN_S)
    for each in sending:
        each.wait(60)
    after = cpu_seconds(system.processes())
    spent = {name: 1000 * (after[name] - before[name]) / len(sent.uids) for name in before}
    return Round(len(sent.uids), arrived - began, spent)


def _print(results: Results, images: int, rounds: int) -> None:
    console = Console(width=100)
    table = Table(
        title=f"End to end: {images} CT slices of 512 KB, medians of {rounds} rounds", title_justify="left"
    )
    table.add_column("system")
    for title in ("associations", "images/s", "beside Orthanc", "CPU ms per image"):
        table.add_column(title, justify="right")
    for (name, senders), done in results.items():
        rate = median([each.rate for each in done])
        peer = results.get(("Orthanc", senders))
        beside = f"{rate / median([each.rate for each in peer]):.2f} ×" if peer else "–"
        cpu = median([sum(each.cpu_ms.values()) for each in done])
        table.add_row(name, str(senders), f"{rate:.0f}", beside, f"{cpu:.1f}")
    console.print(table)
    processes = Table(title="CPU ms per image and process", title_justify="left")
    processes.add_column("process")
    for senders in sorted({senders for _, senders in results}):
        processes.add_column(f"{senders} associations", justify="right")
    for name in sorted({name for done in results.values() for each in done for name in each.cpu_ms}):
        row = []
        for senders in sorted({senders for _, senders in results}):
            spent = [
                each.cpu_ms[name]
                for (_, count), done in results.items()
                if count == senders
                for each in done
                if name in each.cpu_ms
            ]
            row.append(f"{median(spent):.2f}")
        processes.add_row(name, *row)
    console.print(processes)


def _listening(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens on port {port}")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
