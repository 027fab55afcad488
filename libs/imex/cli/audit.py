"""`imex audit`: run the service; with a sub-command check the chain or write it in standard formats."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from imex.cli import service
from imex.cli.output import AsJson, print_facts, print_json

BROKEN = 1
"""Exit code where the chain does not hold."""


class Format(StrEnum):
    """How records are written."""

    DICOM = "dicom"
    FHIR = "fhir"


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="Run the service audit; or check and export its trail.")
    app.callback(invoke_without_command=True)(_run)
    app.command("verify", help="Check the chain; exit 1 and the first break where it does not hold.")(verify)
    app.command("export", help="Write DICOM audit messages, or FHIR AuditEvents, to standard output.")(export)
    return app


def _run(context: typer.Context, check_config: service.CheckConfig = False) -> None:
    """Run the service audit; or check and export its trail."""
    if context.invoked_subcommand is None:
        service.run("audit", check_config=check_config)


def verify(as_json: AsJson = False) -> None:
    """Check the chain; exit 1 and name the first break where it does not hold."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.get("/audit/verify")
    if as_json:
        print_json(answer)
    elif answer["ok"]:
        print(f"The chain holds: {_extent(answer)}.")
    else:
        print("The chain is BROKEN. First break:")
        broken = answer.get("first_break")
        print_facts(broken if isinstance(broken, dict) else {"at": broken})
    if not answer["ok"]:
        raise typer.Exit(BROKEN)


def export(
    form: Annotated[Format, typer.Option("--format", help="DICOM PS3.15 A.5 or FHIR R4.")] = Format.DICOM,
) -> None:
    """Write every record to standard output."""
    from imex.cli.client import Api

    with Api() as api:
        for chunk in api.stream("/audit/export", {"format": form.value}):
            sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _extent(answer: dict[str, Any]) -> str:
    counted = (f"{answer[name]} {name}" for name in ("records", "chains", "checkpoints") if name in answer)
    return ", ".join(counted) or "every record"
