"""Where the API is and with which token: from the environment, else from a local stack's ``stack.json``."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imex.cli.failure import Failure

_CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the API. ``home`` and ``stack`` are there on a local stack only."""

    api: str
    token: str = field(repr=False)
    home: Path | None = None
    stack: dict[str, Any] = field(default_factory=dict, repr=False)


def connection() -> Connection:
    """``IMEX_API`` and ``IMEX_TOKEN``, where not set those of the local stack (as ``admin``).

    Raises ``Failure`` that says what to set or start.
    """
    api, token = os.environ.get("IMEX_API", "").rstrip("/"), os.environ.get("IMEX_TOKEN", "")
    if api and not token:
        raise Failure("IMEX_API is set and IMEX_TOKEN is not: set both, or neither to use the local stack.")
    home = _home()
    if home is None:
        if api:
            return Connection(api, token)
        raise Failure("No stack was found.", "Start one with: make up", "or set IMEX_API and IMEX_TOKEN.")
    stack = _read(home / "stack.json")
    if api and api != str(stack.get("api", "")).rstrip("/"):
        return Connection(api, token)
    try:
        return Connection(
            str(stack["api"]).rstrip("/"), token or str(stack["tokens"]["admin"]), home=home, stack=stack
        )
    except KeyError as missing:
        raise Failure(
            f"{home / 'stack.json'} lacks {missing}: the stack is not up yet.", "Start it with: make up"
        ) from None


def _home() -> Path | None:
    stated = os.environ.get("IMEX_HOME", "")
    places = [Path(stated).expanduser()] if stated else [Path.cwd() / ".imex", _CHECKOUT / ".imex"]
    return next((place.resolve() for place in places if (place / "stack.json").is_file()), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        stack = json.loads(path.read_text())
    except PermissionError:
        raise Failure(f"{path} may be read by its owner only: run as that user.") from None
    except (OSError, ValueError) as error:
        raise Failure(f"{path} cannot be read ({error}).", "Write it anew with: make up") from None
    if not isinstance(stack, dict):
        raise Failure(f"{path} is no description of a stack.", "Write it anew with: make up")
    return stack
