"""`python -m imex.conformance [--check]`: render `docs/conformance.md`, or fail where it is out of date."""

import argparse
import sys
from pathlib import Path

from imex.conformance.statement import render


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m imex.conformance", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where it is out of date")
    parser.add_argument("--document", type=Path, default=Path("docs/conformance.md"))
    arguments = parser.parse_args()
    wanted = render()
    if not arguments.check:
        arguments.document.write_text(wanted)
    elif not arguments.document.exists() or arguments.document.read_text() != wanted:
        sys.exit(f"{arguments.document} differs from the code: run python -m imex.conformance")


if __name__ == "__main__":
    main()
