"""Local accounts: argon2id, checked outside the event loop."""

import asyncio
from functools import cache
from typing import Any
from uuid import uuid4

from pwdlib import PasswordHash
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.portal import accounts
from imex.portal.scope import Caller


@cache
def _hasher() -> PasswordHash:
    return PasswordHash.recommended()


@cache
def _nobody() -> str:
    return _hasher().hash("nobody has this password")


async def verified(connection: AsyncConnection, username: str, password: str) -> Caller | None:
    """The account, if there is one and the password is its own.

    An unknown name takes as long as a wrong password, so that names cannot be found out by the clock.
    """
    a = accounts.c
    row = (
        await connection.execute(
            select(a.id, a.username, a.display_name, a.password_hash, a.institution, a.role).where(
                a.username == username, a.active
            )
        )
    ).one_or_none()
    stored = row.password_hash if row is not None else await asyncio.to_thread(_nobody)
    right = await asyncio.to_thread(_hasher().verify, password, stored)
    if row is None or not right:
        return None
    return Caller("account", str(row.id), row.display_name, row.institution, row.role, row.username)


async def ensure(
    connection: AsyncConnection,
    username: str,
    password: str,
    *,
    institution: str | None,
    role: str,
    display_name: str,
) -> None:
    """Make the account what is said here; a password that is already right is not hashed again."""
    stored = await connection.scalar(select(accounts.c.password_hash).where(accounts.c.username == username))
    if stored is None or not await asyncio.to_thread(_hasher().verify, password, stored):
        stored = await asyncio.to_thread(_hasher().hash, password)
    values: dict[str, Any] = {
        "password_hash": stored,
        "institution": institution,
        "role": role,
        "display_name": display_name,
        "active": True,
    }
    statement = upsert(accounts).values(id=uuid4(), username=username, **values)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[accounts.c.username], set_=values)
    )
