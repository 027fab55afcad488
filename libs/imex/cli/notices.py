"""`imex notices`: shares that are late, studies that do not go on."""

from enum import StrEnum
from typing import Annotated

import typer

from imex.cli.output import AsJson, Limit, local_time, print_json, print_table


class State(StrEnum):
    """Which notices to list."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="Shares that are late, studies that do not go on.", no_args_is_help=True)
    app.command("list", help="What nobody of the institution has seen to yet.")(listed)
    app.command("acknowledge", help="Say that somebody has seen to one.")(acknowledge)
    return app


def listed(
    state: Annotated[State, typer.Option(help="Which notices.")] = State.OPEN,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """What somebody should see to."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.items("/notices", {"state": state.value}, limit)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("notice", "kind", "from", "to", "what", "study", "share", "since"),
        (
            (
                one["id"],
                one["kind"],
                one["source"],
                one.get("recipient"),
                one["reason"],
                one["study_uid"],
                one.get("share"),
                local_time(one["at"]),
            )
            for one in answer["items"]
        ),
        none="Nothing is late, stuck or outstanding.",
    )


def acknowledge(
    notice: Annotated[str, typer.Argument(metavar="NOTICE", help="Id of a notice.")],
    remark: Annotated[
        str, typer.Option("--remark", help="What was done, in words that name no patient.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Somebody has seen to it."""
    from imex.cli.client import Api, segment

    with Api() as api:
        answer = api.post(f"/notices/{segment(notice)}/acknowledge", {"remark": remark})
    if as_json:
        print_json(answer)
    else:
        print(f"{notice}: acknowledged")
