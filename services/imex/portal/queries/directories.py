"""The directory in force."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.directory import versions
from imex.directory import Directory, digest
from imex.directory.document import canonical
from imex.directory.loading import load


@dataclass(frozen=True, slots=True)
class Applied:
    """A version; number 0 is the empty directory, before anything was applied."""

    number: int
    version: str
    directory: Directory
    applied_by: str
    applied_at: datetime | None


async def in_force(connection: AsyncConnection) -> Applied:
    """The newest version. Its document is read once, and kept until another is in force."""
    v = versions.c
    newest = select(v.number, v.version, v.applied_by, v.applied_at).order_by(v.number.desc()).limit(1)
    row = (await connection.execute(newest)).mappings().one_or_none()
    if row is None:
        empty = Directory()
        return Applied(0, digest(empty), empty, "", None)
    directory = _kept().get(row["version"])
    if directory is None:
        document = await document_of(connection, row["number"])
        directory = (await asyncio.to_thread(load, document.encode(), row["version"])).directory
        keep(row["version"], directory)
    return Applied(row["number"], row["version"], directory, row["applied_by"], row["applied_at"])


async def document_of(connection: AsyncConnection, number: int) -> str:
    """The canonical document of a version, as JSON."""
    if number == 0:
        return canonical(Directory()).decode()
    found = await connection.execute(select(versions.c.document).where(versions.c.number == number))
    document: str = found.scalar_one()
    return document


def keep(version: str, directory: Directory) -> None:
    """Remember what a version says, so that it need not be read again."""
    _kept().clear()
    _kept()[version] = directory


@cache
def _kept() -> dict[str, Directory]:
    """The last directory that was read, by its digest: what that names never changes."""
    return {}
