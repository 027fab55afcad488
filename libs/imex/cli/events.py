"""`imex events tail`: follow share events."""

import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imex.cli.failure import Unreachable
from imex.cli.output import local_time

if TYPE_CHECKING:
    from imex.cli.client import Api

POLL_S = 1.0
PATIENCE_S = 60.0
PAGE = 1000
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
            for page in _pages(api, None, event_type):
                past.extend(page["items"])
                cursor = page["next"]
            for event in past:
                _print(event, as_json)
        while True:
            for page in _pages(api, cursor, event_type, patient=follow):
                for event in page["items"]:
                    _print(event, as_json)
                cursor = page["next"]
            if not follow:
                return
            time.sleep(POLL_S)


def _pages(
    api: "Api", cursor: str | None, event_type: str | None, *, patient: bool = False
) -> Iterator[dict[str, Any]]:
    """Pages from a cursor to the feed's present end, which is a page that moves no further."""
    while True:
        page = (_patiently if patient else _page)(api, cursor, event_type)
        yield page
        if page["next"] == cursor:
            return
        cursor = page["next"]


def _patiently(api: "Api", cursor: str | None, event_type: str | None) -> dict[str, Any]:
    """A page, once the API is back where it is away for less than ``PATIENCE_S``."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return _page(api, cursor, event_type)
        except Unreachable:
            if time.monotonic() > until:
                raise
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
