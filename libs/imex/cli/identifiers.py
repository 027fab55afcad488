"""`imex identifiers`: a recipient's own Patient IDs and Accession Numbers for a sender's."""

from enum import StrEnum
from typing import Annotated

import typer

from imex.cli.output import AsJson, Limit, local_time, print_facts, print_json, print_table


class Kind(StrEnum):
    """What is identified."""

    PATIENT = "patient"
    ACCESSION = "accession"


Recipient = Annotated[str, typer.Option("--recipient", help="Whose own identifier it is: a code.")]
Source = Annotated[str, typer.Option("--source", help="Who sends: a code.")]


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="A recipient's own identifiers for a sender's.", no_args_is_help=True)
    app.command("list", help="Mappings, the newest first. They are patient data.")(listed)
    app.command("add", help="Say that VALUE of the sender is OWN at the recipient.")(add)
    app.command("remove", help="Take a mapping away; what was delivered stays as it is.")(remove)
    return app


def listed(
    recipient: Annotated[str | None, typer.Option("--recipient", help="Only of this recipient.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Only for this sender.")] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only these.")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Mappings that the caller may see."""
    from imex.cli.client import Api

    asked = {"recipient": recipient, "source": source, "kind": kind.value if kind else None}
    with Api() as api:
        answer = api.items("/identifiers", asked, limit)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("id", "recipient", "kind", "sender", "issuer", "value", "own", "by", "since"),
        (
            (
                one["id"],
                one["recipient"],
                one["kind"],
                one["source"],
                one["issuer"],
                one["value"],
                one["own"],
                one["actor"],
                local_time(one["at"]),
            )
            for one in answer["items"]
        ),
        none="There are no mappings.",
    )


def add(  # noqa: PLR0917  options are named
    value: Annotated[str, typer.Argument(metavar="VALUE", help="As the sender has it.")],
    own: Annotated[str, typer.Argument(metavar="OWN", help="As the recipient has it.")],
    recipient: Recipient,
    source: Source,
    kind: Annotated[Kind, typer.Option("--kind", help="What is identified.")] = Kind.PATIENT,
    issuer: Annotated[str, typer.Option("--issuer", help="Of VALUE; the sender's own without it.")] = "",
    name: Annotated[
        str, typer.Option("--name", help="Of the patient, FAMILY^GIVEN: compared before the mapping is used.")
    ] = "",
    birth_date: Annotated[str, typer.Option("--birth-date", help="YYYYMMDD: compared too.")] = "",
    as_json: AsJson = False,
) -> None:
    """One mapping more."""
    from imex.cli.client import Api

    body = {
        "recipient": recipient,
        "source": source,
        "kind": kind.value,
        "issuer": issuer,
        "value": value,
        "own": own,
        "name": name,
        "birth_date": birth_date,
    }
    with Api() as api:
        answer = api.post("/identifiers", body)
    if as_json:
        print_json(answer)
    elif answer:
        print_facts(answer)
    else:
        print("The mapping is under way.")


def remove(identifier: Annotated[str, typer.Argument(metavar="ID", help="Of a mapping.")]) -> None:
    """One mapping less."""
    from imex.cli.client import Api, segment

    with Api() as api:
        api.request("DELETE", f"/identifiers/{segment(identifier)}")
    print(f"{identifier}: removed")
