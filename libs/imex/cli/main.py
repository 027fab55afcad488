"""The command `imex`. Modules of commands import what is heavy inside functions, for a quick start."""

import os
import sys
from collections.abc import Sequence

import typer

from imex.cli import (
    audit,
    commitments,
    corrections,
    deadletters,
    deliveries,
    directory,
    endpoints,
    events,
    holds,
    identifiers,
    identity,
    inbox,
    marks,
    notices,
    quarantine,
    receipts,
    reconcile,
    requests,
    rules,
    service,
    shares,
    simulate,
    subjects,
)
from imex.cli.failure import Failure

INTERRUPTED = 130


def build() -> typer.Typer:
    """The command with all its parts."""
    app = typer.Typer(
        help="Imex: DICOM studies from one institution to another, with proof.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for name, part in (
        ("directory", directory),
        ("inbox", inbox),
        ("quarantine", quarantine),
        ("identifiers", identifiers),
        ("notices", notices),
        ("marks", marks),
        ("holds", holds),
        ("requests", requests),
        ("commitments", commitments),
        ("corrections", corrections),
        ("subjects", subjects),
        ("identity", identity),
        ("deliveries", deliveries),
        ("receipts", receipts),
        ("endpoints", endpoints),
        ("deadletters", deadletters),
        ("rules", rules),
        ("events", events),
        ("simulate", simulate),
        ("audit", audit),
    ):
        app.add_typer(part.build(), name=name)
    shares.add_to(app)
    reconcile.add_to(app)
    for name in service.SERVICES:
        if name != "audit":  # the sub-commands of `imex audit` share its name
            _add_service(app, name)
    app.command("setup", help="Create what the services expect: database, buckets, topics, access rules.")(
        _setup
    )
    return app


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point. Exit codes: 0 done; 1 failed, or a check that did not hold; 2 wrong usage or settings."""
    try:
        build()(args=list(argv) if argv is not None else None, prog_name="imex")
    except Failure as failure:
        for line in failure.lines:
            print(line, file=sys.stderr)
        sys.exit(failure.code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _add_service(app: typer.Typer, name: str) -> None:
    @app.command(name, help=f"Run the service {name}.")
    def run(check_config: service.CheckConfig = False) -> None:
        service.run(name, check_config=check_config)


def _setup() -> None:
    from imex.cli.setup import command

    command()


if __name__ == "__main__":
    main()
