"""Many rows in one statement: arrays and `unnest`.

The text and the number of parameters are the same whatever the number of rows, so that SQLAlchemy compiles
it once and PostgreSQL plans it once a connection; a VALUES list of each length is a statement of its own,
and building it cost validation and routing most of the time they spent on a batch.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Literal

from sqlalchemy import ARRAY, Row, Table, TextClause, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

Conflict = Literal["fail", "skip"]

_LOCK = "lock_key"
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


async def insert_rows(
    connection: AsyncConnection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    returning: tuple[str, ...] = (),
    conflict: Conflict = "fail",
    lock: int | None = None,
) -> Sequence[Row[Any]]:
    """Insert rows that all name the same columns; gives back `returning` of those that were new.

    `conflict` says what becomes of a row whose key is there already. With `lock` the transaction shares
    that advisory lock before the first of the rows draws a number from a sequence. Array columns are not
    for this: `unnest` would flatten them.
    """
    if not rows:
        return ()
    columns = tuple(rows[0])
    statement, json_columns = _insert(table, columns, returning, conflict, locks=lock is not None)
    parameters: dict[str, Any] = {
        name: [json.dumps(row[name]) for row in rows] if name in json_columns else [row[name] for row in rows]
        for name in columns
    }
    if lock is not None:
        parameters[_LOCK] = lock
    result = await connection.execute(statement, parameters)
    return result.all() if returning else ()


async def select_rows(
    connection: AsyncConnection,
    table: Table,
    keys: Collection[tuple[Any, ...]],
    key_columns: tuple[str, ...],
) -> Sequence[Row[Any]]:
    """The rows of `table` with any of `keys`."""
    if not keys:
        return ()
    columns = zip(*keys, strict=True)
    arrays = {name: list(values) for name, values in zip(key_columns, columns, strict=True)}
    return (await connection.execute(_select(table, key_columns), arrays)).all()


@cache
def _insert(
    table: Table, columns: tuple[str, ...], returning: tuple[str, ...], conflict: Conflict, *, locks: bool
) -> tuple[TextClause, frozenset[str]]:
    json_columns = frozenset(name for name in columns if isinstance(table.c[name].type, postgresql.JSON))
    arrays = ", ".join(
        f"CAST(CAST(:{name} AS text[]) AS jsonb[])" if name in json_columns else _array(table, name)
        for name in columns
    )
    names = ", ".join(f'"{name}"' for name in columns)
    # in the order of the rows: sequences draw their numbers so, for rows that come out of the sort, which has
    # read the lock's row before
    entered = (
        f"WITH entered AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(:{_LOCK})) " if locks else ""
    )
    statement = (
        f'{entered}INSERT INTO {table.schema}."{table.name}" ({names})'  # noqa: S608 - names of our own tables
        f" SELECT {names} FROM {'entered, ' if locks else ''}unnest({arrays})"
        f" WITH ORDINALITY AS r({names}, place) ORDER BY place"
    )
    if conflict == "skip":
        statement += " ON CONFLICT DO NOTHING"
    if returning:
        statement += " RETURNING " + ", ".join(f'"{name}"' for name in returning)
    return text(statement), json_columns


@cache
def _select(table: Table, key_columns: tuple[str, ...]) -> TextClause:
    arrays = ", ".join(_array(table, name) for name in key_columns)
    names = ", ".join(f'"{name}"' for name in key_columns)
    same = " AND ".join(f't."{name}" = k."{name}"' for name in key_columns)
    return text(
        f'SELECT t.* FROM {table.schema}."{table.name}" t'  # noqa: S608 - names of our own tables
        f" JOIN unnest({arrays}) AS k({names}) ON {same}"
    )


def _array(table: Table, name: str) -> str:
    kind = table.c[name].type
    if isinstance(kind, ARRAY):
        raise TypeError(f"{table.name}.{name} is an array, which unnest would flatten")
    return f"CAST(:{name} AS {kind.compile(_DIALECT)}[])"
