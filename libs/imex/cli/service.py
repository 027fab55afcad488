"""`imex ingest` and its fellows: run one service, or say with which configuration it would run."""

import importlib
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Annotated, Any

import typer

from imex.cli.failure import Failure

SERVICES = ("ingest", "validation", "routing", "delivery", "audit", "portal")
WRONG_SETTINGS = 2
"""Exit code for settings that a service cannot start with."""

CheckConfig = Annotated[
    bool,
    typer.Option("--check-config", help="Print the effective configuration, secrets redacted, and exit."),
]


def run(service: str, *, check_config: bool) -> None:
    """Run a service until it is told to stop. Raises ``Failure`` (code 2) for missing or wrong settings."""
    settings = load_settings(service)
    if check_config:
        print(json.dumps(_redacted(settings), indent=2, default=str))
        return
    main = importlib.import_module(f"imex.{service}.__main__").main
    main()


def load_settings(service: str) -> Any:
    """The service's settings. Raises ``Failure`` that names each variable and its problem."""
    from pydantic import ValidationError

    module = importlib.import_module(f"imex.{service}.settings")
    try:
        return module.Settings()
    except ValidationError as first:
        problems = list(dict.fromkeys([*_every_problem(module), *_problems(first)]))
        raise Failure(
            f"{service} cannot start with these settings:",
            *(f"  {one}" for one in problems),
            code=WRONG_SETTINGS,
        ) from None
    except ValueError as error:
        raise Failure(f"{service} cannot start: {error}", code=WRONG_SETTINGS) from None


def _every_problem(module: ModuleType) -> Iterator[str]:
    """Settings are composed of groups, the first wrong one of which ends it: look at each."""
    from pydantic import ValidationError
    from pydantic_settings import BaseSettings

    for group in vars(module).values():
        if isinstance(group, type) and issubclass(group, BaseSettings) and group is not BaseSettings:
            try:
                group()
            except ValidationError as error:
                yield from _problems(error)


def _problems(error: Any) -> Iterator[str]:
    prefix = _prefix(error.title)
    for one in error.errors(include_url=False, include_input=False):
        message = str(one["msg"]).removeprefix("Value error, ")
        path = [str(part) for part in one["loc"]]
        if not path:
            yield message
            continue
        name = prefix + path[0].upper() if prefix is not None else path[0]
        inside = f"[{'.'.join(path[1:])}]" if path[1:] else ""
        missing = one["type"] == "missing"
        yield f"{name}{inside} is missing: set it" if missing else f"{name}{inside}: {message}"


def _prefix(title: str) -> str | None:
    from pydantic_settings import BaseSettings

    for known in _subclasses(BaseSettings):
        if known.__name__ == title:
            return str(known.model_config.get("env_prefix", "")).upper()
    return None


def _subclasses(parent: type[Any]) -> Iterator[Any]:
    for child in parent.__subclasses__():
        yield child
        yield from _subclasses(child)


def _redacted(settings: Any) -> Any:
    from pydantic import BaseModel

    if isinstance(settings, BaseModel):
        return settings.model_dump(mode="json")
    return {name: _redacted(value) for name, value in vars(settings).items() if isinstance(value, BaseModel)}
