"""The directory in force."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.directory import versions
from imex.directory import Directory, digest


@dataclass(frozen=True, slots=True)
class Applied:
    """A version; number 0 is the empty directory, before anything was applied."""

    number: int
    version: str
    directory: Directory
    applied_by: str
    applied_at: datetime | None


async def in_force(connection: AsyncConnection) -> Applied:
    """The newest version."""
    v = versions.c
    row = (
        (await connection.execute(select(versions).order_by(v.number.desc()).limit(1)))
        .mappings()
        .one_or_none()
    )
    if row is None:
        empty = Directory()
        return Applied(0, digest(empty), empty, "", None)
    return Applied(
        row["number"],
        row["version"],
        Directory.model_validate_json(row["document"]),
        row["applied_by"],
        row["applied_at"],
    )
