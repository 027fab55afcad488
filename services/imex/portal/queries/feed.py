"""The change feed: routing's published share events, by the cursor that its relay gave them."""

import json
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, LargeBinary, cast, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.outbox import FEED_TOPIC
from imex.db.tables.routing import common, shares
from imex.portal.queries import cursors
from imex.portal.queries.veil import shown_study_uid, veiled
from imex.portal.scope import Scope


async def after(
    connection: AsyncConnection, scope: Scope, position: int, limit: int, event_type: str | None
) -> tuple[list[dict[str, Any]], int]:
    """The events behind `position`, and the position to go on from.

    Cursors have no gaps and appear in order, so that nothing can turn up behind a position later. The end
    is read first and bounds the second query: an event that comes in between is not skipped, it is next.
    """
    o = common.outbox.c
    end = await connection.scalar(select(func.max(o.cursor))) or 0
    if position >= end:
        return [], position
    query = (
        select(o.cursor, o.value)
        .where(o.topic == FEED_TOPIC, o.cursor > position, o.cursor <= end, _seen_by(scope))
        .order_by(o.cursor)
        .limit(limit)
    )
    if event_type is not None:
        query = query.where(o.headers["ce_type"].astext == event_type)
    rows = (await connection.execute(query)).all()
    events = await _veiled(connection, scope, [json.loads(bytes(row.value)) for row in rows])
    return events, int(rows[-1].cursor) if len(rows) == limit else int(end)


async def _veiled(
    connection: AsyncConnection, scope: Scope, events: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Events of de-identified shares name the study as their recipient knows it."""
    ours = {event["data"]["share"] for event in events if event["data"].get("source") != scope.institution}
    if scope.institution is None or not ours:
        return events
    query = select(shares.c.id, shown_study_uid(scope).label("shown")).where(
        shares.c.id.in_([UUID(share) for share in ours]), veiled(scope)
    )
    shown = {str(row.id): row.shown for row in await connection.execute(query)}
    for event in events:
        if event["data"]["share"] in shown:
            event["data"]["study_uid"] = shown[event["data"]["share"]]
    return events


def _seen_by(scope: Scope) -> ColumnElement[bool]:
    if scope.institution is None:
        return true()
    data = cast(func.convert_from(cast(common.outbox.c.value, LargeBinary), literal("UTF8")), JSONB)["data"]
    return or_(data["source"].astext == scope.institution, data["recipient"].astext == scope.institution)


def position_of(cursor: str | None) -> int:
    """The position that a cursor stands for; None is the beginning.

    Raises:
        Problem: 400, it is none of ours.
    """
    if cursor is None:
        return 0
    (text,) = cursors.decode(cursor, 1)
    if not text.isdecimal() or len(text) > 18:
        raise cursors.unknown()
    return int(text)


def cursor_of(position: int) -> str:
    """The cursor of a position."""
    return cursors.encode(str(position))
