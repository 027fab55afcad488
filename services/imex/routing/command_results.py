"""What became of commands, for whoever sent them and waits."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.routing import command_results


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one command."""

    outcome: Literal["done", "noted", "rejected"]
    message: str = ""
    share: UUID | None = None


async def tell(connection: AsyncConnection, results: Iterable[tuple[UUID, str, Result]]) -> None:
    """Write results, each with the command's id and whom it is about; a repeat changes none."""
    rows = [
        {
            "command_id": command,
            "recipient": whose,
            "share": result.share,
            "outcome": result.outcome,
            "message": result.message,
        }
        for command, whose, result in results
    ]
    if rows:
        await connection.execute(insert(command_results).on_conflict_do_nothing(), rows)
