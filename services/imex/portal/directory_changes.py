"""Putting a directory in force: all of it or nothing."""

import asyncio
from dataclasses import dataclass

from sqlalchemy import func, insert, select

from imex.db import Database
from imex.db.tables.directory import versions
from imex.directory import Directory
from imex.directory.document import canonical, digest_of
from imex.events.directory import DIRECTORY_KEY, DirectoryApplied, DirectoryAppliedData
from imex.events.ids import derived
from imex.portal import audit
from imex.portal.problems import Problem
from imex.portal.queries import directories
from imex.portal.scope import Caller
from imex.storage.port import ObjectStore

_APPLYING = 0x696D6578_64697265
"""Advisory lock: two changes at once take turns, so that the second finds its base stale."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is in force now, and whether that is new."""

    number: int
    version: str
    changed: bool


def object_key(version: str) -> str:
    """Where the document of a version is kept: it is named by its digest and never changes."""
    return f"versions/{version}.json"


async def apply(
    database: Database, documents: ObjectStore, caller: Caller, directory: Directory, base: str | None
) -> Outcome:
    """Put `directory` in force if `base` is still the version in force; None: whatever is.

    The document goes to the object store first: alone there it changes nothing. The version's row, its
    announcement and its audit record then commit together.

    Raises:
        Problem: 412, another version has been applied since `base`.
    """
    document = await asyncio.to_thread(canonical, directory)
    version = digest_of(document)
    async with database.engine.connect() as connection:
        current = await directories.in_force(connection)
    if current.number and current.version == version:
        return Outcome(current.number, version, changed=False)
    _check_base(base, current)
    key = object_key(version)
    await documents.put(key, document, {"content-type": "application/json"}, version)
    async with database.unit() as unit:
        await unit.connection.execute(select(func.pg_advisory_xact_lock(_APPLYING)))
        current = await directories.in_force(unit.connection)
        if current.number and current.version == version:
            return Outcome(current.number, version, changed=False)
        _check_base(base, current)
        number = current.number + 1
        await unit.connection.execute(
            insert(versions).values(
                number=number,
                version=version,
                document=document.decode(),
                object_key=key,
                applied_by=caller.name,
            )
        )
        unit.publish(
            DirectoryApplied.of(
                id=derived("directory", str(number), version),
                subject=DIRECTORY_KEY,
                data=DirectoryAppliedData(
                    number=number, version=version, object_key=key, applied_by=caller.name
                ),
            )
        )
        details = {"number": str(number), "version": version, "before": current.version}
        audit.record(unit, caller, "directory_applied", details=details)
    directories.keep(version, directory)
    return Outcome(number, version, changed=True)


def _check_base(base: str | None, current: directories.Applied) -> None:
    if base is not None and base != current.version:
        raise Problem(
            412,
            f"The directory has changed since you read it: version {current.version[:12]} "
            f"(number {current.number}) is in force. Read it again, make your change to that, and apply.",
            title="Stale base version",
            headers={"ETag": f'"{current.version}"'},
        )
