"""Bearer tokens: 256 random bits, kept as their SHA-256 only."""

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.portal import tokens
from imex.portal.scope import Caller

PREFIX = "imex_"
"""Makes a leaked token easy to find with a scanner."""


def new_token() -> str:
    """A token, to be shown once."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """What is stored of a token. It has 256 random bits, so that a fast hash is enough."""
    return hashlib.sha256(token.encode()).digest()


async def caller_of(connection: AsyncConnection, token: str) -> Caller | None:
    """Whose token it is, or None: unknown or revoked."""
    found = await connection.execute(
        select(tokens.c.id, tokens.c.institution, tokens.c.role, tokens.c.label).where(
            tokens.c.hash == digest(token), tokens.c.revoked_at.is_(None)
        )
    )
    row = found.one_or_none()
    if row is None:
        return None
    return Caller("token", str(row.id), row.label, row.institution, row.role)


async def store(
    connection: AsyncConnection, token: str, institution: str | None, role: str, label: str
) -> UUID:
    """Store a new token and give back its id."""
    identifier = uuid4()
    await connection.execute(
        insert(tokens).values(
            id=identifier, hash=digest(token), institution=institution, role=role, label=label
        )
    )
    return identifier


async def ensure(
    connection: AsyncConnection, token: str, institution: str | None, role: str, label: str
) -> None:
    """Make `token` valid for `institution`, whatever it was before."""
    values: dict[str, Any] = {"institution": institution, "role": role, "label": label, "revoked_at": None}
    statement = upsert(tokens).values(id=uuid4(), hash=digest(token), **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=[tokens.c.hash], set_=values))


async def revoke(connection: AsyncConnection, identifier: UUID) -> bool:
    """Take a token out of force; false when there is no such token in force."""
    done = await connection.execute(
        update(tokens)
        .where(tokens.c.id == identifier, tokens.c.revoked_at.is_(None))
        .values(revoked_at=datetime.now(UTC))
        .returning(tokens.c.id)
    )
    return done.one_or_none() is not None


async def listed(connection: AsyncConnection, institution: str | None) -> list[dict[str, Any]]:
    """Every token, without what it is; those of `institution` where one is given."""
    query = select(
        tokens.c.id,
        tokens.c.institution,
        tokens.c.role,
        tokens.c.label,
        tokens.c.created_at,
        tokens.c.revoked_at,
    ).order_by(tokens.c.created_at, tokens.c.id)
    if institution is not None:
        query = query.where(tokens.c.institution == institution)
    return [dict(row) for row in (await connection.execute(query)).mappings()]
