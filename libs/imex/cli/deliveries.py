"""`imex deliveries`: what is being carried where."""

from enum import StrEnum
from typing import Annotated

import typer

from imex.cli.output import AsJson, Limit, Reason, local_time, print_json, print_table

Delivery = Annotated[str, typer.Argument(metavar="DELIVERY", help="Id of a delivery.")]


class State(StrEnum):
    """Which deliveries to list."""

    WAITING = "waiting"
    RUNNING = "running"
    IDLE = "idle"
    ENDED = "ended"


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="What is being carried where.", no_args_is_help=True)
    app.command("list", help="Deliveries, the newest first.")(listed)
    app.command("retry", help="Try now instead of later.")(retry)
    app.command("cancel", help="Give up; what was delivered stays delivered.")(cancel)
    return app


def listed(
    state: Annotated[State | None, typer.Option(help="Only in this state.")] = None,
    share: Annotated[str | None, typer.Option(help="Only of this share.")] = None,
    recipient: Annotated[str | None, typer.Option("--to", help="Only to this institution.")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Deliveries, the newest first."""
    from imex.cli.client import Api

    wanted = {"state": state.value if state else None, "share": share, "recipient": recipient}
    with Api() as api:
        answer = api.items("/deliveries", wanted, limit)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("delivery", "state", "from", "to", "endpoint", "confirmed", "attempts", "next attempt", "reason"),
        (
            (
                one["id"],
                one.get("outcome") or one["state"],
                one.get("source"),
                one["recipient"],
                one["endpoint"],
                f"{one.get('delivered', 0)} of {one.get('expected') or '?'}",
                one.get("attempts"),
                local_time(one.get("next_attempt_at")),
                one.get("reason"),
            )
            for one in answer["items"]
        ),
        none="There are no deliveries.",
    )


def retry(delivery: Delivery, reason: Reason = "", as_json: AsJson = False) -> None:
    """Try now instead of later."""
    _ask(delivery, "retry", reason, as_json)


def cancel(delivery: Delivery, reason: Reason = "", as_json: AsJson = False) -> None:
    """Give up; what was delivered stays delivered."""
    _ask(delivery, "cancel", reason, as_json)


def _ask(delivery: str, wish: str, reason: str, as_json: bool) -> None:
    from imex.cli.client import Api, segment

    with Api() as api:
        answer = api.post(f"/deliveries/{segment(delivery)}/{wish}", {"reason": reason})
    if as_json:
        print_json(answer)
    else:
        print(f"{delivery}: {wish} is under way")
