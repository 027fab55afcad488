"""`python -m imex.schemas [--check] [--unreleased]`: render `schemas/`, or fail on drift.

Rendering refuses a change that breaks a version which is committed already: such a change is a new
version beside the old one. `accepted.yaml` there names the breaks that are accepted all the same, and why
(`imex.schemas.accepted`). `--unreleased` allows any, for versions that no release has carried yet.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from imex.directory.document import render_schema
from imex.events.compatibility import breaks
from imex.events.examples import examples
from imex.events.render import event_schemas, topic_definitions
from imex.schemas.accepted import ACCEPTED, is_accepted, read, unacceptable


def documents() -> dict[str, str]:
    """Every generated file below `schemas/` and its text."""
    rendered = {f"events/{path}": _json(schema) for path, schema in event_schemas().items()}
    rendered |= {
        f"examples/{name}/v{event.VERSION}.json": _json(json.loads(event.encode()))
        for name, event in sorted(examples().items())
    }
    rendered["topics.yaml"] = _YAML_HEAD + yaml.safe_dump(topic_definitions(), sort_keys=False, width=100)
    rendered["directory.schema.json"] = render_schema()
    return rendered


_YAML_HEAD = "# Rendered from imex.events.catalog by `make schemas`.\n"


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def drift(root: Path) -> list[str]:
    """How the files below `root` differ from what the code says."""
    wanted = documents()
    present = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    problems = [f"{name}: missing" for name in sorted(wanted.keys() - present)]
    problems += [f"{name}: nothing renders it" for name in sorted(present - wanted.keys() - {ACCEPTED})]
    problems += [
        f"{name}: differs from the code"
        for name in sorted(wanted.keys() & present)
        if (root / name).read_text() != wanted[name]
    ]
    return problems


def broken(root: Path) -> list[str]:
    """How the code breaks versions that are committed below `root`."""
    accepted = read(root)
    problems = unacceptable(accepted)
    for path, schema in event_schemas().items():
        committed = root / "events" / path
        if committed.exists():
            found = breaks(json.loads(committed.read_text()), schema)
            problems += [f"{path}{one}" for one in found if not is_accepted(path, one, accepted)]
    return problems


def write(root: Path) -> None:
    """Make `root` what the code says."""
    wanted = documents()
    for path in [path for path in root.rglob("*") if path.is_file()]:
        if str(path.relative_to(root)) not in wanted.keys() | {ACCEPTED}:
            path.unlink()
    for name, text in wanted.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m imex.schemas", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on drift")
    parser.add_argument("--unreleased", action="store_true", help="allow breaking what no release carried")
    parser.add_argument("--root", type=Path, default=Path("schemas"))
    arguments = parser.parse_args()
    if arguments.check:
        problems = drift(arguments.root) + unacceptable(read(arguments.root))
        advice = "run `make schemas` and commit what it changes"
    else:
        problems = [] if arguments.unreleased else broken(arguments.root)
        advice = "publish a new version beside the old one"
        if not problems:
            write(arguments.root)
    for problem in problems:
        sys.stderr.write(f"schemas: {problem}\n")
    if problems:
        sys.stderr.write(f"schemas: {advice}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
