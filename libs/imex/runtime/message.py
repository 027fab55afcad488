"""Records as the runtime hands them about."""

import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from imex.events import Event

if TYPE_CHECKING:
    from imex.db import UnitOfWork

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A Kafka record as it came: nothing decoded."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    def header(self, name: str) -> str | None:
        """The last header of that name as text; None when there is none or it is no UTF-8."""
        for found, value in reversed(self.headers):
            if found == name:
                try:
                    return value.decode()
                except UnicodeDecodeError:
                    return None
        return None

    @property
    def timestamp(self) -> datetime:
        """When it was produced."""
        return datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)


@dataclass(frozen=True, slots=True)
class Message:
    """A record with its event."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    key: str
    event: Event[Any]
    traceparent: str | None
    raw: RawRecord


Handler = Callable[[Sequence[Message], "UnitOfWork"], Awaitable[None]]
"""Handles one batch in one transaction. In a batch, messages of one key are in order."""

StatelessHandler = Callable[[Sequence[Message]], Awaitable[None]]
"""Handles one batch where there is no database; it must be idempotent by itself."""

DeadLetterHook = Callable[[RawRecord, str, "UnitOfWork | None"], Awaitable[None]]
"""Told of a dead letter, with a reason fit for people, so that a service can mark what is stuck."""


def headers_to_json(headers: Headers) -> list[list[str]]:
    """Headers as they are stored with a parked record."""
    return [[name, base64.b64encode(value).decode()] for name, value in headers]


def headers_from_json(stored: Sequence[Sequence[str]]) -> Headers:
    """The inverse of `headers_to_json`."""
    return tuple((name, base64.b64decode(value)) for name, value in stored)
