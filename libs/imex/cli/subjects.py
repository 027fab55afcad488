"""`imex subjects`: what the network has of a person, and its being erased or put right."""

from typing import Annotated, Any

import typer

from imex.cli.failure import Failure
from imex.cli.output import AsJson, print_json, print_table

Report = Annotated[str, typer.Argument(metavar="REPORT", help="Id of a report, of `imex subjects report`.")]
Why = Annotated[str, typer.Option("--reason", help="Why, in words that name no patient.")]


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(
        help="What the network has of a person: for the network's administration.", no_args_is_help=True
    )
    app.command("report", help="Find everything of a person; the identifier is asked for.")(report)
    app.command("show", help="A report, an erasure or a rectification.")(show)
    app.command("erase", help="Erase what a report has found.")(erase)
    app.command("rectify", help="Put right what a report has found; what is right is asked for.")(rectify)
    return app


def report(
    issuer: Annotated[
        str, typer.Option("--issuer", help="`NHS`, another issuer, or the code whose number it is.")
    ],
    as_json: AsJson = False,
) -> None:
    """Nothing is changed by it."""
    from imex.cli.client import Api

    identifier = typer.prompt("Patient ID")
    with Api() as api:
        answer = api.post("/subjects/report", {"issuer": issuer, "patient_id": identifier})
    _shown(answer, as_json=as_json)


def show(report: Report, as_json: AsJson = False) -> None:
    """As far as services have answered."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.get(f"/subjects/{report}")
    _shown(answer, as_json=as_json)


def erase(
    report: Report,
    reason: Why,
    force: Annotated[
        bool, typer.Option("--force", help="Also while shares are under way, which are revoked then.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """It cannot be undone. What is held for a legal duty stays, and the answer says so."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.post(f"/subjects/{report}/erase", {"reason": reason, "force": force})
    _shown(answer, as_json=as_json)


def rectify(report: Report, reason: Why, as_json: AsJson = False) -> None:
    """What Imex finds and compares by; images keep what their sender wrote."""
    from imex.cli.client import Api

    print("What is right; leave empty what is to stay.")
    right = {
        name: typer.prompt(f"  {name.replace('_', ' ')}", default="", show_default=False)
        for name in ("issuer", "patient_id", "patient_name", "birth_date", "sex")
    }
    if not any(right.values()):
        raise Failure("Nothing was entered, so nothing was changed.")
    with Api() as api:
        answer = api.post(f"/subjects/{report}/rectify", {"reason": reason, "right": right})
    _shown(answer, as_json=as_json)


def _shown(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    studies, shares = answer["studies"], answer["under_way"]
    print(f"{answer['command']} {answer['id']}: {studies} studies, {shares} shares under way")
    done = {"report": "", "erase": "erased", "rectify": "put right"}[answer["command"]]
    columns = ("place", "found", done, "kept", "why") if done else ("place", "found", "remark")
    rows = [
        (one["place"], one["found"], one["done"], one["kept"], one["why"])
        if done
        else (one["place"], one["found"], one["why"])
        for one in answer["places"]
    ]
    print_table(columns, rows, none="Nothing is known of this person.")
    print(
        "Sealed in Kafka, and gone from there within 7 days, dead letters 7 days after that: "
        "what came in of these studies, and what was commanded about the person."
    )
    if not answer["complete"]:
        missing = ", ".join(answer["waits_for"])
        print(f"Not answered yet: {missing}. Look again: imex subjects show {answer['id']}")
