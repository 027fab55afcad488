"""`imex inbox`: what was shared with an institution and is read in the portal."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from imex.cli.failure import Failure
from imex.cli.output import AsJson, Limit, local_time, print_json, print_table, size_of

Share = Annotated[str, typer.Argument(metavar="SHARE", help="Id of a share.")]


class Standing(StrEnum):
    """Which shares to list."""

    WAITING = "waiting"
    COMING = "coming"
    THERE = "there"


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="What was shared with the institution and is read here.", no_args_is_help=True)
    app.command("list", help="Studies that can be read, or that wait to be accepted.")(listed)
    app.command("accept", help="Let a share that waits come into the inbox.")(accept)
    app.command("refuse", help="Do not let it come: its sender is told why.")(refuse)
    app.command("download", help="A study as a ZIP with DICOMDIR. Its sender is told.")(download)
    return app


def listed(
    standing: Annotated[
        Standing, typer.Option(help="Waiting to be accepted, coming, or there.")
    ] = Standing.THERE,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Shares in the inboxes of the token's institution."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.items("/inbox", {"standing": standing.value}, limit)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("share", "from", "purpose", "priority", "modalities", "study", "images", "state", "since"),
        (
            (
                one["id"],
                one["source"],
                one["purpose"],
                one["priority"],
                one["modalities"],
                one["description"] or ("de-identified" if one["deidentified"] else ""),
                one["images"],
                one["state"],
                local_time(one["arrived_at"] or one["requested_at"]),
            )
            for one in answer["items"]
        ),
        none="Nothing waits to be accepted." if standing is Standing.WAITING else "Nothing is there.",
    )


def accept(share: Share, as_json: AsJson = False) -> None:
    """For the recipient."""
    _decide(share, "accept", "", as_json=as_json)


def refuse(
    share: Share,
    reason: Annotated[str, typer.Option("--reason", help="Why, in words that name no patient.")],
    as_json: AsJson = False,
) -> None:
    """For the recipient."""
    _decide(share, "refuse", reason, as_json=as_json)


def _decide(share: str, command: str, reason: str, *, as_json: bool) -> None:
    from imex.cli.client import Api, segment

    with Api() as api:
        answer = api.post(f"/shares/{segment(share)}/{command}", {"reason": reason})
    if as_json:
        print_json(answer)
    else:
        print(f"{share}: {answer['state']}")


def download(
    share: Share,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; else imex-SHARE.zip here.")
    ] = None,
) -> None:
    """A file that is there already is left alone, and one that did not come whole is not kept."""
    from imex.cli.client import Api, segment

    target = output or Path(f"imex-{share}.zip")
    if target.exists():
        raise Failure(f"{target} is there already. Name another file with --output.")
    part = target.with_name(target.name + ".part")
    size = 0
    try:
        with Api() as api, part.open("wb") as file:
            for piece in api.stream(f"/shares/{segment(share)}/archive"):
                size += file.write(piece)
        part.rename(target)
    except OSError as error:
        raise Failure(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
    print(f"{target}: {size_of(size)}")
