"""`imex endpoints`: whether, and how well, an institution can be delivered to."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imex.cli.failure import Failure
from imex.cli.output import AsJson, local_time, print_json, print_table

if TYPE_CHECKING:
    from imex.cli.client import Api

FAILED = 1
"""Exit code where a step failed."""
POLL_S = 0.3
PATIENCE_S = 150.0
"""A test ends within 120 s by itself."""

Endpoint = Annotated[
    str, typer.Argument(metavar="NAME", help="CODE/ENDPOINT, or CODE for an institution's first endpoint.")
]


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="Whether, and how well, an institution can be delivered to.", no_args_is_help=True)
    app.command("test", help="Go the way of a delivery step by step; exit 1 where a step fails.")(test)
    app.command("tests", help="Earlier tests of an endpoint, the newest first.")(tests)
    return app


def test(
    name: Endpoint,
    send: Annotated[
        bool, typer.Option("--send", help="Send a small study of nobody too; it stays there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Go the way of a delivery step by step; exit 1 where a step fails."""
    from imex.cli.client import Api

    with Api() as api:
        path = _path(api, name)
        begun = api.post(path, {"send": send})
        done = _followed(api, f"{path}/{begun['id']}", None if as_json else _Printer())
    if as_json:
        print_json(done)
    else:
        _print_accepted(done)
        print(f"{str(done['outcome']).capitalize()}: {done['reason']}.")
    if done["outcome"] != "passed":
        raise typer.Exit(FAILED)


def tests(name: Endpoint, as_json: AsJson = False) -> None:
    """Earlier tests of an endpoint, the newest first."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.get(_path(api, name))
    if as_json:
        print_json(answer)
        return
    print_table(
        ("asked for", "by", "sent", "outcome", "reason"),
        (
            (
                local_time(one.get("requested_at")),
                one["actor"],
                one["send"],
                one.get("outcome") or one["state"],
                one.get("reason"),
            )
            for one in answer["items"]
        ),
        none="It was not tested yet.",
    )


class _Printer:
    """Prints steps as they are done."""

    def __init__(self) -> None:
        self._printed = 0

    def show(self, steps: list[dict[str, Any]]) -> None:
        for step in steps[self._printed :]:
            took = f"{step['ms']:.0f} ms" if step.get("ms") is not None else ""
            print(f"{step['result']:8} {step['name']:16} {took:>9}  {step['words']}", flush=True)
            if step.get("advice"):
                print(f"{'':36}→ {step['advice']}", flush=True)
        self._printed = max(self._printed, len(steps))


def _followed(api: "Api", path: str, printer: _Printer | None) -> dict[str, Any]:
    """The test when it is done. Raises ``Failure`` when it is not within ``PATIENCE_S``."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        answer = api.request("GET", path, or_status=404)
        if answer.status_code != 404:  # delivery has taken it up
            found: dict[str, Any] = answer.json()
            if printer is not None:
                printer.show(found["steps"])
            if found["state"] == "done":
                return found
        time.sleep(POLL_S)
    raise Failure(
        "The test was not carried out in time.",
        "Is the delivery service up? See: imex endpoints tests NAME, and its log.",
    )


def _path(api: "Api", name: str) -> str:
    from imex.cli.client import segment

    code, _, endpoint = name.partition("/")
    if not endpoint:
        members = api.get("/institutions")["items"]
        member = next((one for one in members if one["code"] == code), None)
        if member is None:
            raise Failure(
                f"There is no institution {code!r}.", "imex directory export - shows those there are."
            )
        if not member["endpoints"]:
            raise Failure(f"{code} has no endpoint: it does not receive.")
        endpoint = member["endpoints"][0]
    return f"/endpoints/{segment(code)}/{segment(endpoint)}/tests"


def _print_accepted(done: dict[str, Any]) -> None:
    for step in done["steps"]:
        if rows := step.get("facts", {}).get("accepted"):
            print()
            print_table(
                ("SOP class", "accepted in"),
                [(one["sop_class"], one["transfer_syntaxes"] or "not accepted") for one in rows],
                none="",
            )
            print()
