"""Breaks of a committed version that are accepted: `schemas/accepted.yaml`.

A break is harmless where everybody who reads the event is a service of the same release, and the old ones
never see what is new. That cannot be told from a schema, so it is written down, each with its reason. What
partners read is never broken: topics whose names begin with `share` take no entry.
"""

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from imex.events import EVENT_CLASSES, TOPICS

ACCEPTED = "accepted.yaml"
_NEW_VALUES = "new values "


class Accepted(BaseModel):
    """One break: of which events, where in their schemas, what changes there, and why that harms nobody."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    types: Annotated[tuple[str, ...], Field(min_length=1)]
    path: str
    """As `imex.events.compatibility.breaks` names the place: `/data/lane`."""
    change: str
    """As it names the change: `new values ['urgent']`."""
    reason: Annotated[str, Field(min_length=20)]
    adr: Annotated[str, Field(pattern=r"^\d{4}$")]
    """The decision record, by its number."""


def read(root: Path) -> list[Accepted]:
    """What is accepted below `root`; nothing where there is no file.

    Raises:
        pydantic.ValidationError: an entry lacks something, or has something unknown.
    """
    path = root / ACCEPTED
    if not path.exists():
        return []
    return TypeAdapter(list[Accepted]).validate_python(yaml.safe_load(path.read_text()) or [])


def unacceptable(accepted: Iterable[Accepted]) -> list[str]:
    """Entries that nobody may make: for events of partners, or for none."""
    partners = {cls.type_name() for topic in TOPICS if topic.name.startswith("share") for cls in topic.events}
    problems = []
    for name in sorted({name for one in accepted for name in one.types}):
        if name in partners:
            problems.append(f"{ACCEPTED}: {name} is for partners and may not be broken: make a new version")
        elif name not in EVENT_CLASSES:
            problems.append(f"{ACCEPTED}: there is no event {name}")
    return problems


def is_accepted(schema: str, found: str, accepted: Iterable[Accepted]) -> bool:
    """Whether a break is one of these. `schema`: `<type>/v<n>.json`; `found`: as `breaks` words it.

    New values may have been accepted in several entries, each with a reason of its own.
    """
    name = schema.partition("/")[0]
    path, _, change = found.partition(": ")
    here = [one.change for one in accepted if name in one.types and one.path == path]
    if change in here:
        return True
    new = _new_values(change)
    return bool(new) and new <= frozenset().union(*(_new_values(one) for one in here))


def _new_values(change: str) -> frozenset[str]:
    if not change.startswith(_NEW_VALUES):
        return frozenset()
    return frozenset(ast.literal_eval(change.removeprefix(_NEW_VALUES)))
