"""All systems side by side, Imex alone (`imex`), decisions (`decisions`), or an earlier run (`tables`)."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks import before, decisions, failures, fanout, full, lanes, queue, report, steering
from benchmarks.results import Results


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    full.add_arguments(parser)
    commands = parser.add_subparsers(dest="command")
    steering.add_arguments(commands.add_parser("imex", help="Imex alone, a line for each round"))
    lanes.add_arguments(commands.add_parser("lanes", help="emergencies beside a queue of routine studies"))
    decisions.add_arguments(commands.add_parser("decisions", help="decisions and apply at national size"))
    queue.add_arguments(commands.add_parser("queue", help="claims with a million instances pending"))
    fanout.add_arguments(commands.add_parser("fanout", help="delivery alone, to 100 destinations at once"))
    failures.add_arguments(commands.add_parser("failures", help="a good destination beside failing ones"))
    before.add_arguments(commands.add_parser("before", help="this tree beside an earlier one"))
    tables = commands.add_parser("tables", help="the tables of an earlier run")
    tables.add_argument("results", type=Path, help="what --json wrote")
    tables.add_argument("document", type=Path, nargs="?", help="put them between its marks")
    arguments = parser.parse_args()
    if arguments.command == "tables":
        return _tables(arguments.results, arguments.document)
    if arguments.command == "decisions":
        return decisions.run(arguments)
    # ended by either signal, it still stops what it has started
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="imex-bench-") as scratch:
        run = {
            "imex": steering.run,
            "lanes": lanes.run,
            "queue": queue.run,
            "fanout": fanout.run,
            "failures": failures.run,
            "before": before.run,
        }.get(arguments.command, full.run)
        return run(arguments, Path(scratch))


def _tables(file: Path, document: Path | None) -> int:
    found = Results.model_validate_json(file.read_text())
    report.show(found)
    if document is not None:
        full.write_markdown(found, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
