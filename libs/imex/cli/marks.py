"""`imex marks`: what is marked of a person's record, for administrators."""

from typing import Annotated, Any

import typer

from imex.cli.output import AsJson, Reason, local_time, print_facts, print_json

Issuer = Annotated[
    str, typer.Option("--issuer", help="Of the identifier: NHS, another issuer, or an institution's code.")
]
PatientId = Annotated[
    str, typer.Option("--patient-id", prompt="Patient ID", help="Asked for where left out: shells remember.")
]


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(
        help="The national data opt-out, and sensitive records (administrators).", no_args_is_help=True
    )
    app.command("show", help="What is marked of a person's record.")(show)
    app.command("set", help="Mark a person's record; what is not delivered is asked again.")(mark)
    return app


def show(issuer: Issuer, patient_id: PatientId, as_json: AsJson = False) -> None:
    """What is marked; that somebody looked is audited."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.post("/marks/find", {"issuer": issuer, "patient_id": patient_id})
    _print(answer, as_json)


def mark(  # noqa: PLR0917  what a mark says
    issuer: Issuer,
    patient_id: PatientId,
    opted_out: Annotated[
        bool, typer.Option("--opted-out/--not-opted-out", help="Of the national data opt-out.")
    ],
    sensitive: Annotated[bool, typer.Option("--sensitive/--not-sensitive", help="Of the record.")],
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Both marks are stated, so that none is taken away unsaid."""
    from imex.cli.client import Api

    body = {
        "issuer": issuer,
        "patient_id": patient_id,
        "opted_out": opted_out,
        "sensitive": sensitive,
        "reason": reason,
    }
    with Api() as api:
        answer = api.post("/marks", body)
    _print(answer, as_json)


def _print(answer: Any, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    print_facts(
        {
            "opted out": "yes" if answer["opted_out"] else "no",
            "sensitive": "yes" if answer["sensitive"] else "no",
            "reason": answer.get("reason"),
            "set by": answer.get("set_by"),
            "at": local_time(answer.get("at")),
        }
    )
