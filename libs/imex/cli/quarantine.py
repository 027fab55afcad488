"""`imex quarantine`: instances that wait for a person."""

from enum import StrEnum
from typing import Annotated

import typer

from imex.cli.failure import Failure
from imex.cli.output import AsJson, Limit, Reason, local_time, print_facts, print_json, print_table, size_of

Entry = Annotated[str, typer.Argument(metavar="ENTRY", help="Id of an entry.")]
Entries = Annotated[list[str] | None, typer.Argument(metavar="ENTRY…", help="Ids of entries.")]
OfStudy = Annotated[str | None, typer.Option("--study", help="Everything of this study UID that waits.")]


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
    app.command("release", help="Let instances go on, or all that wait of a study.")(release)
    app.command("discard", help="End instances here; they stay listed as discarded.")(discard)
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


def release(
    entries: Entries = None, study_uid: OfStudy = None, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Let instances go on."""
    _decide(entries or [], study_uid, "release", reason, as_json)


def discard(
    entries: Entries = None, study_uid: OfStudy = None, reason: Reason = "", as_json: AsJson = False
) -> None:
    """End instances here."""
    _decide(entries or [], study_uid, "discard", reason, as_json)


def _decide(entries: list[str], study_uid: str | None, decision: str, reason: str, as_json: bool) -> None:
    from imex.cli.client import Api, segment

    if bool(entries) == (study_uid is not None):
        raise Failure("Name entries, or a study with --study.", code=2)
    if not reason.strip():
        raise Failure("Say why with --reason, in words that name no patient.", code=2)
    with Api() as api:
        if study_uid is not None:
            waiting = api.items("/quarantine", {"state": State.WAITING.value, "study_uid": study_uid}, None)
            entries = [one["id"] for one in waiting["items"]]
            if not entries:
                raise Failure(f"Nothing of study {study_uid} waits.")
        answers, refused = [], []
        for entry in entries:
            try:
                answers.append(api.post(f"/quarantine/{segment(entry)}/{decision}", {"reason": reason}))
            except Failure as failure:
                # one that cannot be decided keeps none of the others from it
                if len(entries) == 1:
                    raise
                refused.append(f"{entry}: {failure.lines[0]}")
    if as_json:
        print_json(answers[0] if len(entries) == 1 else {"items": answers, "next": None})
    else:
        for answer in answers:
            state = answer["state"]
            print(f"{answer['id']}: {state if state != State.WAITING.value else f'{decision} is under way'}")
    if refused:
        raise Failure(*refused)
