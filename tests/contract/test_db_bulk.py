"""Many rows in one statement, against a real PostgreSQL."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from imex.db import Database
from imex.db.bulk import insert_rows, select_rows
from imex.db.tables import routing

_AT = datetime(2026, 11, 25, tzinfo=UTC)


def _parked(offset: int, key: bytes) -> dict[str, object]:
    return {
        "consumer": "g",
        "topic": "t",
        "partition": 0,
        "offset": offset,
        "timestamp_ms": offset,
        "key": key,
        "value": None if offset % 2 else b"\x00\xff",
        "headers": [["ce_type", base64.b64encode(b"x").decode()]],
        "reason": 'quoted "{comma,}" and \\ text',
        "until": _AT + timedelta(seconds=offset),
    }


async def test_rows_come_back_as_they_went_in_and_in_their_order(database: Database) -> None:
    parked = database.common.parked
    rows = [_parked(offset, b"k%d" % (offset % 3)) for offset in (5, 3, 9, 1)]

    async with database.unit() as unit:
        await insert_rows(unit.connection, parked, rows)
    async with database.unit() as unit:
        found = await select_rows(unit.connection, parked, {("t", b"k0"), ("t", b"k2")}, ("topic", "key"))

    kept = sorted(found, key=lambda row: row.id)
    assert [row.offset for row in kept] == [5, 3, 9]
    assert [{name: getattr(row, name) for name in rows[0]} for row in kept] == rows[:3]


async def test_what_is_there_already_is_told_from_what_is_new(database: Database) -> None:
    parked = database.common.parked
    async with database.unit() as unit:
        await insert_rows(unit.connection, parked, [_parked(1, b"k")])

    async with database.unit() as unit:
        new = await insert_rows(
            unit.connection,
            parked,
            [_parked(1, b"k"), _parked(2, b"k")],
            returning=("offset",),
            conflict="skip",
        )

    assert [row.offset for row in new] == [2]


async def test_nothing_asks_the_database_nothing(database: Database) -> None:
    async with database.unit() as unit:
        assert await insert_rows(unit.connection, database.common.inbox, []) == ()
        assert await select_rows(unit.connection, database.common.inbox, [], ("event_id",)) == ()


async def test_a_key_of_several_columns_narrows_what_is_selected(database: Database) -> None:
    parked = database.common.parked
    async with database.unit() as unit:
        await insert_rows(unit.connection, parked, [_parked(1, b"k"), _parked(2, b"k")])
        found = await select_rows(unit.connection, parked, [("k",)], ("reason",))
        by_key = await select_rows(unit.connection, parked, [(b"k", 2)], ("key", "offset"))

    assert found == []
    assert [row.offset for row in by_key] == [2]


async def test_an_array_column_is_refused_rather_than_flattened(database: Database) -> None:
    async with database.unit() as unit:
        with pytest.raises(TypeError, match="modalities"):
            await insert_rows(unit.connection, routing.studies, [{"modalities": ["CT", "MR"]}])
