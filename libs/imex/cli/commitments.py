"""`imex commitments`: storage commitments that senders asked of Imex."""

from enum import StrEnum
from typing import Annotated

import typer

from imex.cli.output import AsJson, Limit, local_time, print_facts, print_json, print_table

Commitment = Annotated[str, typer.Argument(metavar="COMMITMENT", help="Id of a commitment.")]


class State(StrEnum):
    """Which to list."""

    OPEN = "open"
    DECIDED = "decided"
    REPORTED = "reported"
    UNREPORTED = "unreported"


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(
        help="Storage commitments that senders asked of Imex: yes only for what a receiving archive has "
        "itself committed.",
        no_args_is_help=True,
    )
    app.command("list", help="What was asked, and how many instances were committed.")(listed)
    app.command("show", help="One, with the answer about each instance.")(show)
    return app


def listed(
    state: Annotated[State | None, typer.Option(help="Which commitments.")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """The newest first."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.items("/commitments", {"state": state.value} if state else {}, limit)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("commitment", "by", "instances", "committed", "refused", "state", "since", "reason"),
        (
            (
                one["id"],
                f"{one['institution']} {one['ae_title']}",
                one["instances"],
                "" if one["committed"] is None else one["committed"],
                "" if one["refused"] is None else one["refused"],
                one["state"],
                local_time(one["asked_at"]),
                one["reason"],
            )
            for one in answer["items"]
        ),
        none="Nobody has asked for a storage commitment.",
    )


def show(commitment: Commitment, as_json: AsJson = False) -> None:
    """Why an instance was refused stands beside it."""
    from imex.cli.client import Api, segment

    with Api() as api:
        answer = api.get(f"/commitments/{segment(commitment)}")
    if as_json:
        print_json(answer)
        return
    print_facts(
        {
            "commitment": answer["id"],
            "by": f"{answer['institution']} {answer['ae_title']}",
            "transaction": answer["transaction_uid"],
            "state": answer["state"],
            "reason": answer["reason"],
            "asked": local_time(answer["asked_at"]),
            "answered by": local_time(answer["due_at"]),
            "told": answer["reported_at"] and local_time(answer["reported_at"]),
        }
    )
    print_table(
        ("instance", "answer", "failure", "reason"),
        (
            (one["sop_instance_uid"], one["answer"], one["failure_reason"] or "", one["reason"])
            for one in answer["lines"]
        ),
        none="",
    )
