"""`imex quarantine`: instances that wait for a person."""

from enum import StrEnum
from typing import Annotated

import typer

from imex.cli.output import AsJson, Limit, local_time, print_facts, print_json, print_table, size_of

Entry = Annotated[str, typer.Argument(metavar="ENTRY", help="Id of an entry.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, in words that name no patient.")]


class State(StrEnum):
    """Which entries to list."""

    WAITING = "waiting"
    RELEASED = "released"
    DISCARDED = "discarded"
    REFUSED = "refused"
    ANY = "any"


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="Instances that wait for a person.", no_args_is_help=True)
    app.command("list", help="What waits; --state any for decided entries too.")(listed)
    app.command("show", help="An entry with its evidence and who may release it.")(show)
    app.command("release", help="Let an instance go on.")(release)
    app.command("discard", help="End an instance here; it stays listed as discarded.")(discard)
    return app


def listed(
    state: Annotated[State, typer.Option(help="Which entries.")] = State.WAITING,
    study_uid: Annotated[str | None, typer.Option("--study", help="Only of this study UID.")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """What waits for a person."""
    from imex.cli.client import Api

    wanted = None if state is State.ANY else state.value
    with Api() as api:
        answer = api.items("/quarantine", {"state": wanted, "study_uid": study_uid}, limit)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("entry", "state", "from", "reason", "instance", "study", "since"),
        (
            (
                one["id"],
                one.get("state"),
                one.get("source"),
                one["reason"],
                one["sop_instance_uid"],
                one["study_uid"],
                local_time(one.get("created_at")),
            )
            for one in answer["items"]
        ),
        none="Nothing is in quarantine.",
    )


def show(entry: Entry, as_json: AsJson = False) -> None:
    """An entry with its evidence and who may release it."""
    from imex.cli.client import Api, segment

    with Api() as api:
        found = api.get(f"/quarantine/{segment(entry)}")
    if as_json:
        print_json(found)
        return
    print_facts({**found, "size": size_of(found.get("size"))})


def release(entry: Entry, reason: Reason, as_json: AsJson = False) -> None:
    """Let an instance go on."""
    _decide(entry, "release", reason, as_json)


def discard(entry: Entry, reason: Reason, as_json: AsJson = False) -> None:
    """End an instance here."""
    _decide(entry, "discard", reason, as_json)


def _decide(entry: str, decision: str, reason: str, as_json: bool) -> None:
    from imex.cli.client import Api, segment

    with Api() as api:
        answer = api.post(f"/quarantine/{segment(entry)}/{decision}", {"reason": reason})
    if as_json:
        print_json(answer)
    else:
        state = (answer or {}).get("state")
        print(f"{entry}: {state if state and state != 'waiting' else f'{decision} is under way'}")
