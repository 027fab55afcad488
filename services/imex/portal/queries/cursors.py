"""Cursors of lists: opaque to callers, a row's sort key to us."""

import base64
import binascii
from datetime import datetime
from uuid import UUID

from imex.portal.problems import Problem


def encode(*parts: str) -> str:
    """The cursor after a row with sort key `parts`."""
    return base64.urlsafe_b64encode("\n".join(parts).encode()).decode().rstrip("=")


def decode(cursor: str, parts: int) -> list[str]:
    """The sort key in a cursor.

    Raises:
        Problem: 400, it is none of ours.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise unknown() from None
    found = text.split("\n")
    if len(found) != parts:
        raise unknown()
    return found


def moment_and_id(cursor: str) -> tuple[datetime, UUID]:
    """The sort key of lists that run by time.

    Raises:
        Problem: 400, it is none of ours.
    """
    at, identifier = decode(cursor, 2)
    try:
        return moment(at), UUID(identifier)
    except ValueError:
        raise unknown() from None


def moment(text: str) -> datetime:
    """A point in time out of a cursor.

    Raises:
        Problem: 400, it is none of ours.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise unknown() from None
    if found.tzinfo is None:
        raise unknown()
    return found


def unknown() -> Problem:
    """The answer to a cursor that is none of ours."""
    return Problem(400, "The cursor in `after` is unknown. Use `next` of an earlier answer, or leave it out.")
