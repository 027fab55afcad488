"""`imex identity`: who somebody is."""

from enum import StrEnum
from typing import Annotated

import typer

from imex.cli.output import AsJson, Reason, print_json


class Status(StrEnum):
    """What tracing has found."""

    TRACED = "traced"
    NOT_TRACED = "not-traced"
    SUPERSEDED = "superseded"


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="Who somebody is.", no_args_is_help=True)
    app.command("link", help="Say who the patient of a study with a temporary identity is.")(link)
    app.command("trace", help="Enter what tracing has found of an NHS number (administrators).")(trace)
    return app


def link(  # noqa: PLR0917  what a link says
    study_uid: Annotated[str, typer.Argument(metavar="STUDY_UID", help="Of the study.")],
    source: Annotated[str, typer.Option("--from", help="Institution that sent it: a code.")],
    issuer: Annotated[str, typer.Option("--issuer", help="Of the identifier: NHS, another, or the code.")],
    patient_id: Annotated[
        str, typer.Option("--patient-id", prompt="Patient ID", help="Asked for where left out.")
    ],
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """The images stay as they were sent; what has not been delivered is asked again."""
    from imex.cli.client import Api

    body = {
        "source": source,
        "study_uid": study_uid,
        "issuer": issuer,
        "patient_id": patient_id,
        "reason": reason,
    }
    with Api() as api:
        answer = api.post("/identities/link", body)
    if as_json:
        print_json(answer)
    else:
        print(f"{study_uid}: {answer['state']}")


def trace(
    nhs_number: Annotated[
        str, typer.Option("--nhs-number", prompt="NHS number", help="Asked for where left out.")
    ],
    status: Annotated[Status, typer.Option("--status", help="What tracing has found.")],
    superseded_by: Annotated[
        str | None, typer.Option("--superseded-by", help="The number to use instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Later images under the number are told so."""
    from imex.cli.client import Api

    body = {"nhs_number": nhs_number, "status": status.value, "superseded_by": superseded_by}
    with Api() as api:
        answer = api.post("/identities/trace", body)
    if as_json:
        print_json(answer)
    else:
        print(f"the number is {answer['status']}")
