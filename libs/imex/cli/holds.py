"""`imex holds`: studies whose images are not deleted on schedule."""

from typing import Annotated

import typer

from imex.cli.output import AsJson, Limit, local_time, print_json, print_table

Study = Annotated[str, typer.Argument(metavar="STUDY_UID", help="Study Instance UID.")]
Source = Annotated[str, typer.Option("--source", help="Code of the institution that sent it.")]
Why = Annotated[str, typer.Option("--reason", help="Why, in words that name no patient.")]


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="Legal hold: images that are not deleted on schedule.", no_args_is_help=True)
    app.command("list", help="Studies under legal hold.")(listed)
    app.command("place", help="Keep a study's images until the hold is lifted.")(place)
    app.command("lift", help="Let a study's images go on schedule, whatever held them.")(lift)
    return app


def listed(limit: Limit = None, as_json: AsJson = False) -> None:
    """What somebody has put under hold; what an agreement or a purpose holds is in the share."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.items("/holds", {}, limit)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("from", "study", "reason", "by", "since"),
        (
            (one["source"], one["study_uid"], one["reason"], one["placed_by"], local_time(one["at"]))
            for one in answer["items"]
        ),
        none="Nobody has put a study under hold.",
    )


def place(study: Study, source: Source, reason: Why, as_json: AsJson = False) -> None:
    """Nothing of it is deleted from now on."""
    _command("/holds", study, source, reason, as_json=as_json)


def lift(study: Study, source: Source, reason: Why, as_json: AsJson = False) -> None:
    """Its images go once its shares' time is over."""
    _command("/holds/lift", study, source, reason, as_json=as_json)


def _command(path: str, study: str, source: str, reason: str, *, as_json: bool) -> None:
    from imex.cli.client import Api

    with Api() as api:
        answer = api.post(path, {"source": source, "study_uid": study, "reason": reason})
    if as_json:
        print_json(answer)
    else:
        print(f"{source} {study}: {answer['state']}")
