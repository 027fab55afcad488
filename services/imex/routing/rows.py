"""Writing many rows in one statement: arrays and `unnest`, one round trip whatever their number."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Table, TextClause, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


async def add_rows(
    connection: AsyncConnection,
    table: Table,
    columns: tuple[str, ...],
    rows: Sequence[Mapping[str, Any]],
    returning: str,
) -> set[Any]:
    """Insert rows that are not there yet and give back the `returning` column of the new ones."""
    if not rows:
        return set()
    arrays = {name: [row[name] for row in rows] for name in columns}
    result = await connection.execute(_statement(table, columns, returning), arrays)
    return set(result.scalars())


@cache
def _statement(table: Table, columns: tuple[str, ...], returning: str) -> TextClause:
    arrays = ", ".join(f"CAST(:{name} AS {table.c[name].type.compile(_DIALECT)}[])" for name in columns)
    names = ", ".join(f'"{name}"' for name in columns)
    return text(
        f'INSERT INTO {table.schema}."{table.name}" ({names})'  # noqa: S608 - names of our own tables
        f" SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING RETURNING {returning}"
    )
