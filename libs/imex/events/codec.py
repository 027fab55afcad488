"""From bytes to an event, for consumers."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from imex.events.catalog import EVENT_CLASSES
from imex.events.envelope import Event


class UndecodableEvent(ValueError):
    """The bytes are no event that the catalogue knows. Says why without quoting the bytes."""


class _Peek(BaseModel):
    model_config = ConfigDict(extra="ignore")
    type: str


def decode(body: bytes, type_hint: str | None = None) -> Event[Any]:
    """The event in a structured-mode JSON body.

    `type_hint` is the `ce_type` header, which spares a first look into the body.

    Raises:
        UndecodableEvent: not JSON, of an unknown type, or not valid against its model.
    """
    name = type_hint or _peek(body)
    cls = EVENT_CLASSES.get(name)
    if cls is None:
        raise UndecodableEvent(f"unknown event type {name[:80]!r}")
    try:
        return cls.model_validate_json(body)
    except ValidationError as error:
        raise UndecodableEvent(f"{name}: {_where(error)}") from None


def _peek(body: bytes) -> str:
    try:
        return _Peek.model_validate_json(body).type
    except ValidationError as error:
        raise UndecodableEvent(_where(error)) from None


def _where(error: ValidationError) -> str:
    # names of fields and kinds of error only: values may be patient data
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, p['loc'])) or 'body'}: {p['type']}" for p in problems[:5])
