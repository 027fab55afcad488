"""`imex events tail`: follow share events."""

import time
from collections import deque
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imex.cli.output import local_time

if TYPE_CHECKING:
    from imex.cli.client import Api

POLL_S = 1.0
PAGE = 200
_SHOWN = ("share", "study_uid", "source", "recipient", "state", "priority")


def build() -> typer.Typer:
    """The sub-command."""
    app = typer.Typer(help="Share events.", no_args_is_help=True)
    app.callback()(_group)
    app.command("tail", help="Follow share events.")(tail)
    return app


def _group() -> None:
    """Share events."""


def tail(
    event_type: Annotated[
        str | None, typer.Option("--type", help="Only this type, such as imex.share.delivered.")
    ] = None,
    after: Annotated[str | None, typer.Option(help="Begin behind this cursor, as the feed's `next`.")] = None,
    last: Annotated[int, typer.Option("-n", "--last", min=0, help="Begin with so many past events.")] = 10,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Wait for more.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print whole events, one JSON object a line.")
    ] = False,
) -> None:
    """Follow share events."""
    from imex.cli.client import Api

    with Api() as api:
        cursor = after
        if after is None:
            past: deque[dict[str, Any]] = deque(maxlen=last)
            while True:
                page = _page(api, cursor, event_type)
                past.extend(page["items"])
                moved, cursor = page["next"] != cursor, page["next"]
                if not moved or not page["items"]:
                    break
            for event in past:
                _print(event, as_json)
        while True:
            page = _page(api, cursor, event_type)
            for event in page["items"]:
                _print(event, as_json)
            moved, cursor = page["next"] != cursor, page["next"]
            if moved and page["items"]:
                continue
            if not follow:
                return
            time.sleep(POLL_S)


def _page(api: "Api", cursor: str | None, event_type: str | None) -> dict[str, Any]:
    page: dict[str, Any] = api.get("/events", {"after": cursor, "limit": PAGE, "type": event_type})
    return page


def _print(event: dict[str, Any], as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(event, ensure_ascii=False), flush=True)
        return
    data = event.get("data", {})
    known = " ".join(f"{name}={data[name]}" for name in _SHOWN if data.get(name))
    rest = " ".join(f"{name}={value}" for name, value in data.items() if name not in _SHOWN and value)
    print(f"{local_time(event.get('time'))}  {event.get('type')}  {known} {rest}".rstrip(), flush=True)
