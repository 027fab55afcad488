"""`imex deadletters`: records that could not be handled, with the reason."""

from typing import Annotated

import typer

from imex.cli.failure import Failure
from imex.cli.output import AsJson, Limit, local_time, print_facts, print_json, print_table

Letter = Annotated[str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="As `list` names it.")]


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="Records that could not be handled.", no_args_is_help=True)
    app.command("list", help="Dead letters of every topic.")(listed)
    app.command("show", help="One dead letter with its reason.")(show)
    app.command("replay", help="Put a record back where it came from.")(replay)
    return app


def listed(limit: Limit = None, as_json: AsJson = False) -> None:
    """Dead letters of every topic."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.items("/dead-letters", limit=limit)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("letter", "type", "reason", "since"),
        (
            (
                f"{one['topic']}/{one['partition']}/{one['offset']}",
                one.get("type"),
                one.get("reason"),
                local_time(one.get("at")),
            )
            for one in answer["items"]
        ),
        none="There are no dead letters.",
    )


def show(letter: Letter, as_json: AsJson = False) -> None:
    """One dead letter with its reason."""
    from imex.cli.client import Api

    with Api() as api:
        found = api.get(_path(letter))
    if as_json:
        print_json(found)
    else:
        print_facts(found)


def replay(letter: Letter, as_json: AsJson = False) -> None:
    """Put a record back where it came from."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.post(f"{_path(letter)}/replay")
    if as_json:
        print_json(answer)
    else:
        print(f"{letter}: put back")


def _path(letter: str) -> str:
    from imex.cli.client import segment

    topic, _, rest = letter.partition("/")
    partition, _, offset = rest.partition("/")
    if not topic or not partition.isdecimal() or not offset.isdecimal():
        raise Failure(
            f"{letter!r} does not name a dead letter.",
            "Give TOPIC/PARTITION/OFFSET, as `imex deadletters list` shows it.",
        )
    return f"/dead-letters/{segment(topic)}/{partition}/{offset}"
