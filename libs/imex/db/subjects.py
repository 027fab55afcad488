"""What services answer of a person: places, counts and reasons, and nobody's data."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import Table, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.common import Common


@dataclass(frozen=True, slots=True)
class Finding:
    """What one place has of a person. `done` were erased or put right; `why` is of what is kept."""

    place: str
    found: int
    done: int = 0
    why: str = ""


async def answer(connection: AsyncConnection, table: Table, command: UUID, found: Sequence[Finding]) -> None:
    """Write the answer; asked once more, it is the newest."""
    rows = [
        {**asdict(one), "kept": one.found - one.done, "why": one.why if one.done < one.found else ""}
        for one in found
        if one.found
    ]
    made = insert(table).values(command=command, findings=rows)
    await connection.execute(
        made.on_conflict_do_update(index_elements=["command"], set_={"findings": made.excluded.findings})
    )


async def parked(connection: AsyncConnection, common: Common, keys: Sequence[str], *, erase: bool) -> Finding:
    """Records of the studies that are set aside, by the keys of their topics; they hold sealed identities."""
    place = f"{common.parked.schema}.parked"
    names = {"keys": [key.encode() for key in keys]}
    where = f"FROM {place} WHERE key = ANY(CAST(:keys AS bytea[]))"
    found = int(await connection.scalar(text(f"SELECT count(*) {where}"), names) or 0)
    if erase and found:
        await connection.execute(text(f"DELETE {where}"), names)
    return Finding(place, found, found if erase else 0)
