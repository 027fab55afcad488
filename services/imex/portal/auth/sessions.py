"""Sessions: kept by the server, named by a cookie of 256 random bits."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.portal import accounts, sessions
from imex.portal.scope import Caller

COOKIE = "imex_session"


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()


async def open_session(connection: AsyncConnection, caller: Caller, hours: int) -> str:
    """Begin a session and give back the cookie's value. Sessions that have run out go."""
    value = secrets.token_urlsafe(32)
    await connection.execute(delete(sessions).where(sessions.c.expires_at < func.now()))
    await connection.execute(
        insert(sessions).values(
            hash=_digest(value), account=caller.id, expires_at=datetime.now(UTC) + timedelta(hours=hours)
        )
    )
    return value


async def caller_of(connection: AsyncConnection, value: str) -> Caller | None:
    """Whose session it is; None when it is unknown, has run out, or its account is no longer active."""
    a = accounts.c
    row = (
        await connection.execute(
            select(a.id, a.username, a.display_name, a.institution, a.role)
            .join(sessions, sessions.c.account == a.id)
            .where(sessions.c.hash == _digest(value), sessions.c.expires_at > func.now(), a.active)
        )
    ).one_or_none()
    if row is None:
        return None
    return Caller("account", str(row.id), row.display_name, row.institution, row.role, row.username)


async def close_session(connection: AsyncConnection, value: str) -> None:
    """End a session."""
    await connection.execute(delete(sessions).where(sessions.c.hash == _digest(value)))
