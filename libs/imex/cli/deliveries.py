"""`imex deliveries`: what is being carried where."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from imex.cli.failure import Failure
from imex.cli.output import AsJson, Limit, Reason, local_time, print_facts, print_json, print_table

Delivery = Annotated[str, typer.Argument(metavar="DELIVERY", help="Id of a delivery.")]
MaybeDelivery = Annotated[str | None, typer.Argument(metavar="[DELIVERY]", help="Id of a delivery.")]
Destination = Annotated[
    str | None,
    typer.Option("--destination", metavar="RT3/pacs", help="All that goes to this endpoint."),
]


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
    app.command("show", help="One delivery: its attempts, and what people asked of it.")(show)
    app.command("destinations", help="Where deliveries go, and which of these take nothing now.")(
        destinations
    )
    app.command("retry", help="Try now instead of later.")(retry)
    app.command("cancel", help="Give up; what was delivered stays delivered.")(cancel)
    app.command("pause", help="Send nothing of it, or nothing to a destination, until it is resumed.")(pause)
    app.command("resume", help="Go on with what was paused.")(resume)
    app.command("reroute", help="Send what is left to another endpoint of the same recipient.")(reroute)
    return app


def listed(
    *,
    state: Annotated[State | None, typer.Option(help="Only in this state.")] = None,
    share: Annotated[str | None, typer.Option(help="Only of this share.")] = None,
    recipient: Annotated[
        str | None, typer.Option("--to", "--recipient", help="Only to this institution.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="Only to endpoints of this name.")] = None,
    paused: Annotated[bool | None, typer.Option(help="Only those that a person has paused, or not.")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Deliveries, the newest first."""
    from imex.cli.client import Api

    wanted = {
        "state": state.value if state else None,
        "share": share,
        "recipient": recipient,
        "endpoint": endpoint,
        "paused": None if paused is None else str(paused).lower(),
    }
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
                standing(one),
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


def standing(delivery: Mapping[str, Any]) -> str:
    """Its state in a word or two, and why nothing goes where nothing does."""
    if delivery.get("outcome"):
        return str(delivery["outcome"])
    state = str(delivery["state"])
    if delivery.get("paused"):
        return f"{state}, paused"
    if state == "waiting" and delivery.get("destination") in {"paused", "away"}:
        return f"{state}, destination {delivery['destination']}"
    return state


def show(delivery: Delivery, as_json: AsJson = False) -> None:
    """One delivery: its attempts, and what people asked of it."""
    from imex.cli.client import Api, segment

    with Api() as api:
        answer = api.get(f"/deliveries/{segment(delivery)}")
    if as_json:
        print_json(answer)
        return
    print_facts(
        {
            "delivery": answer["id"],
            "share": answer["share"],
            "state": standing(answer),
            "reason": answer["reason"],
            "paused by": answer["paused_by"],
            "because": answer["paused_reason"],
            "from": answer["source"],
            "to": f"{answer['recipient']}/{answer['endpoint']}",
            "priority": answer["priority"],
            "confirmed": f"{answer['delivered']} of {answer['expected'] or '?'}",
            "failed": answer["failed"] or None,
            "next attempt": local_time(answer["next_attempt_at"]),
            "expires": local_time(answer["expires_at"]),
        }
    )
    print()
    print_table(
        ("attempt", "began", "ended", "outcome", "confirmed", "reason"),
        (
            (
                one["number"],
                local_time(one["started_at"]),
                local_time(one["ended_at"]),
                one["outcome"],
                one["confirmed"],
                one["reason"],
            )
            for one in answer["tried"]
        ),
        none="Nothing was tried yet.",
    )
    if answer["asked"]:
        print()
        print_table(
            ("asked", "what", "by", "reason"),
            (
                (
                    local_time(one["at"]),
                    _asked(one),
                    one["actor"] + (f" ({one['institution']})" if one["institution"] else ""),
                    one["reason"],
                )
                for one in answer["asked"]
            ),
            none="",
        )


def _asked(control: Mapping[str, Any]) -> str:
    what = str(control["command"])
    if control["from_endpoint"]:
        what += f" from {control['from_endpoint']}"
    return f"{what} of the destination" if control["whole_destination"] else what


def destinations(
    recipient: Annotated[
        str | None, typer.Option("--to", "--recipient", help="Only of this institution.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Where deliveries go, and which of these take nothing now."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.get("/destinations", {"recipient": recipient} if recipient else None)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("destination", "state", "since", "by", "reason", "next probe", "waiting", "running"),
        (
            (
                f"{one['recipient']}/{one['endpoint']}",
                one["state"],
                local_time(one["since"]),
                one["by"],
                one["reason"],
                local_time(one["next_probe_at"]),
                one["waiting"],
                one["running"],
            )
            for one in answer["items"]
        ),
        none="Nothing was sent anywhere yet.",
    )


def retry(
    delivery: MaybeDelivery = None,
    destination: Destination = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Try now instead of later."""
    _ask(delivery, destination, "retry", reason, as_json)


def cancel(delivery: Delivery, reason: Reason = "", as_json: AsJson = False) -> None:
    """Give up; what was delivered stays delivered."""
    _ask(delivery, None, "cancel", reason, as_json)


def pause(
    delivery: MaybeDelivery = None,
    destination: Destination = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Send nothing of it, or nothing to a destination, until it is resumed."""
    _ask(delivery, destination, "pause", reason, as_json)


def resume(
    delivery: MaybeDelivery = None,
    destination: Destination = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Go on with what was paused."""
    _ask(delivery, destination, "resume", reason, as_json)


def reroute(
    delivery: Delivery,
    endpoint: Annotated[str, typer.Option("--endpoint", help="Another endpoint of the same recipient.")],
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Send what is left to another endpoint of the same recipient."""
    _ask(delivery, None, "reroute", reason, as_json, endpoint=endpoint)


def _ask(  # noqa: PLR0917  of what, which wish, why, and how it is told
    delivery: str | None,
    destination: str | None,
    wish: str,
    reason: str,
    as_json: bool,
    endpoint: str | None = None,
) -> None:
    from imex.cli.client import Api, segment

    if (delivery is None) == (destination is None):
        raise Failure(f"Say what to {wish}: the id of a delivery, or --destination RECIPIENT/ENDPOINT.")
    body = {"reason": reason} | ({"endpoint": endpoint} if endpoint else {})
    if destination is not None:
        recipient, _, name = destination.partition("/")
        if not recipient or not name:
            raise Failure("Write a destination as RECIPIENT/ENDPOINT, for instance RT3/pacs.")
        path = f"/destinations/{segment(recipient)}/{segment(name)}/{wish}"
    else:
        path = f"/deliveries/{segment(delivery or '')}/{wish}"
    with Api() as api:
        answer = api.post(path, body)
    if as_json:
        print_json(answer)
    else:
        print(f"{destination or delivery}: {wish} is under way")
