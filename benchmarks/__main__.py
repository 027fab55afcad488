"""`python -m benchmarks`: see benchmarks/README.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import steering


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    steering.add_arguments(commands.add_parser("imex", help="Imex alone, quickly"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imex-bench-") as scratch:
        return steering.run(arguments, Path(scratch))


if __name__ == "__main__":
    sys.exit(main())
