"""`imex requests`: one institution asks another for a patient's studies."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from imex.cli.output import AsJson, Limit, Reason, local_time, print_facts, print_json, print_table

Request = Annotated[str, typer.Argument(metavar="REQUEST", help="Id of a request.")]


class State(StrEnum):
    """Which requests to list."""

    OPEN = "open"
    GRANTED = "granted"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class Priority(StrEnum):
    """How urgent it is."""

    ROUTINE = "routine"
    URGENT = "urgent"
    EMERGENCY = "emergency"


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="Asking another institution for a patient's studies.", no_args_is_help=True)
    app.command("list", help="Requests that the institution made, or is asked.")(listed)
    app.command("show", help="One request, with whom it is about while it is open.")(show)
    app.command("make", help="Ask for studies.")(make)
    app.command("grant", help="Share what a request is about.")(grant)
    app.command("refuse", help="Do not share it: who asked is told why.")(refuse)
    app.command("retry", help="Ask the archives of who has them again.")(retry)
    app.command("withdraw", help="Take a request back.")(withdraw)
    return app


def listed(
    state: Annotated[State | None, typer.Option(help="Which requests.")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Of both directions, the newest first."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.items("/requests", {"state": state.value} if state else {}, limit)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("request", "by", "to", "purpose", "priority", "reason", "state", "since"),
        (
            (
                one["id"],
                one["requester"],
                one["holder"],
                one["purpose"],
                one["priority"],
                one["reason"],
                one["state"],
                local_time(one["made_at"]),
            )
            for one in answer["items"]
        ),
        none="There are no requests.",
    )


def show(request: Request, as_json: AsJson = False) -> None:
    """That somebody looked is audited."""
    from imex.cli.client import Api, segment

    with Api() as api:
        _print(api.get(f"/requests/{segment(request)}"), as_json)


def make(  # noqa: PLR0917  what a request says
    holder: Annotated[str, typer.Option("--to", help="Code of the institution that has them.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in words that name no patient.")],
    requester: Annotated[
        str | None, typer.Option("--from", help="Code of who asks (administrators).")
    ] = None,
    issuer: Annotated[str, typer.Option(help="Of the Patient ID, which is asked for: shells remember.")] = "",
    accession: Annotated[str, typer.Option(help="Or an accession number.")] = "",
    study_uid: Annotated[str, typer.Option("--study", help="Or a Study Instance UID.")] = "",
    modality: Annotated[str | None, typer.Option(help="Only studies with this one.")] = None,
    since: Annotated[str | None, typer.Option(help="First day of a study, YYYY-MM-DD.")] = None,
    until: Annotated[str | None, typer.Option(help="Last day of a study, YYYY-MM-DD.")] = None,
    purpose: Annotated[str, typer.Option(help="What they are for.")] = "direct-care",
    priority: Annotated[Priority, typer.Option(help="How urgent it is.")] = Priority.ROUTINE,
    as_json: AsJson = False,
) -> None:
    """Under an agreement that lets the other one share with who asks."""
    from imex.cli.client import Api

    body: dict[str, Any] = {
        "holder": holder,
        "requester": requester,
        "issuer": issuer,
        "patient_id": typer.prompt("Patient ID") if issuer else "",
        "accession": accession,
        "study_uid": study_uid,
        "modality": modality,
        "studied_from": since,
        "studied_until": until,
        "purpose": purpose,
        "priority": priority.value,
        "reason": reason,
    }
    with Api() as api:
        _print(api.post("/requests", body), as_json)


def grant(request: Request, reason: Reason = "", as_json: AsJson = False) -> None:
    """For who has the studies."""
    _decide(request, "grant", reason, as_json=as_json)


def refuse(
    request: Request,
    reason: Annotated[str, typer.Option("--reason", help="Why, in words that name no patient.")],
    as_json: AsJson = False,
) -> None:
    """For who has the studies."""
    _decide(request, "refuse", reason, as_json=as_json)


def retry(request: Request, reason: Reason = "", as_json: AsJson = False) -> None:
    """For who has the studies, where fetching them has failed, or found nothing."""
    _decide(request, "retry", reason, as_json=as_json)


def withdraw(request: Request, reason: Reason = "", as_json: AsJson = False) -> None:
    """For who asked."""
    _decide(request, "withdraw", reason, as_json=as_json)


def _decide(request: str, command: str, reason: str, *, as_json: bool) -> None:
    from imex.cli.client import Api, segment

    with Api() as api:
        _print(api.post(f"/requests/{segment(request)}/{command}", {"reason": reason}), as_json)


def _print(answer: Any, as_json: bool) -> None:
    if as_json or "state" not in answer:
        print_json(answer)
        return
    about = {name: value for name, value in (answer.get("wanted") or {}).items() if value}
    print_facts(
        {
            "request": answer["id"],
            "by": answer["requester"],
            "to": answer["holder"],
            **{name.replace("_", " "): value for name, value in about.items()},
            "purpose": answer["purpose"],
            "reason": answer["reason"],
            "state": answer["state"],
            "answer": answer["answer"],
            "from the archives": ": ".join(
                one for one in (answer["retrieval"], answer["retrieval_reason"]) if one
            ),
            "shares": ", ".join(answer["shares"]),
        }
    )
