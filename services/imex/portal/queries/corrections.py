"""Recalls and corrections, and how far they have come: a recipient sees its own part, the source all."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.routing import corrected_instances, corrected_shares, corrections, shares
from imex.dicom.rejection import TITLES
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.portal.queries.veil import shown_study_uid, veiled
from imex.portal.scope import Scope

CorrectionKind = Literal["recall", "demographics", "merge"]
Progress = Literal["stopped", "due", "notifying", "notified", "told", "unreached"]


class Concerned(BaseModel):
    """One share that a correction concerns."""

    share: UUID
    recipient: str
    state: Progress = Field(
        description="stopped: nothing had left; due, notifying: a rejection note is on its way; "
        "notified: it is confirmed there; unreached: it could not be delivered; "
        "told: people read of it, no note goes there"
    )
    reason: str
    notified_at: AwareDatetime | None
    outstanding_since: AwareDatetime | None = Field(
        description="null once somebody acknowledged it, or need not"
    )
    acknowledged_at: AwareDatetime | None
    acknowledged_by: str | None
    remark: str


class Correction(BaseModel):
    """What is wrong with what was shared."""

    id: UUID
    kind: CorrectionKind
    code: str | None = Field(description="DCM code of the rejection note's title, CID 7010; of a recall")
    title: str | None = Field(description="the same in words")
    reason: str
    whole: bool = Field(description="the whole study is recalled")
    instances: int = Field(description="how many are recalled")
    source: str
    study_uid: str = Field(description="to the recipient of a de-identified share, the one given to it")
    at: AwareDatetime
    opened_by: str | None = Field(description="the account or token; the source alone is told")
    note_sop_instance_uid: str | None = Field(description="of the rejection note")
    concerned: list[Concerned] = Field(description="all of them for the source; a recipient's own for others")


def _outstanding() -> ColumnElement[bool]:
    k = corrected_shares.c
    return and_(k.acknowledged_at.is_(None), k.state != "stopped")


def _visible(scope: Scope) -> ColumnElement[bool]:
    c, k = corrections.c, corrected_shares.c
    if scope.institution is None:
        return true()
    mine = exists().where(k.correction == c.id, k.recipient == scope.institution)
    return or_(c.source == scope.institution, mine)


def _base(scope: Scope) -> Select[Any]:
    c, i = corrections.c, corrected_instances.c
    count = select(func.count()).where(i.correction == c.id).scalar_subquery()
    return select(corrections, count.label("instances")).where(_visible(scope), c.state == "open")


async def listed(
    connection: AsyncConnection,
    scope: Scope,
    *,
    outstanding: bool | None,
    limit: int,
    after: str | None = None,
    share: UUID | None = None,
) -> Page[Correction]:
    """Corrections that the caller's institution opened or is concerned by, the newest first."""
    c, k = corrections.c, corrected_shares.c
    query = _base(scope)
    if outstanding is not None:
        open_ = exists().where(k.correction == c.id, _outstanding(), scope.either(c.source, k.recipient))
        query = query.where(open_ if outstanding else ~open_)
    if share is not None:
        mine = scope.either(c.source, k.recipient)
        query = query.where(exists().where(k.correction == c.id, k.share == share, mine))
    if after is not None:
        query = query.where(tuple_(c.at, c.id) < cursors.moment_and_id(after))
    rows = (
        (await connection.execute(query.order_by(c.at.desc(), c.id.desc()).limit(limit + 1))).mappings().all()
    )
    found = await _with_shares(connection, scope, rows[:limit])
    more = len(rows) > limit
    return Page(
        items=found, next=cursors.encode(found[-1].at.isoformat(), str(found[-1].id)) if more else None
    )


async def get(connection: AsyncConnection, scope: Scope, correction: UUID) -> Correction | None:
    """One correction, if the caller may see it."""
    row = (
        (await connection.execute(_base(scope).where(corrections.c.id == correction)))
        .mappings()
        .one_or_none()
    )
    if row is None:
        return None
    return (await _with_shares(connection, scope, [row]))[0]


async def study_of(connection: AsyncConnection, correction: UUID) -> tuple[str, str]:
    """Source and Study Instance UID of a correction that is there."""
    c = corrections.c
    row = (await connection.execute(select(c.source, c.study_uid).where(c.id == correction))).one()
    return row.source, row.study_uid


async def personal(connection: AsyncConnection, scope: Scope, correction: UUID) -> dict[str, Any] | None:
    """Whose data is corrected, sealed; None where the caller must not know who it is, or it is erased."""
    c, k = corrections.c, corrected_shares.c
    may = exists(
        select(1)
        .select_from(corrected_shares.join(shares, shares.c.id == k.share))
        .where(k.correction == c.id, scope.own(k.recipient), ~veiled(scope))
    )
    query = select(c.personal).where(c.id == correction, or_(scope.own(c.source), may))
    found: dict[str, Any] | None = await connection.scalar(query)
    return found


async def outstanding_count(connection: AsyncConnection, scope: Scope) -> int:
    """How many the caller's institution has not acknowledged."""
    k = corrected_shares.c
    query = select(func.count(k.correction.distinct())).where(_outstanding(), scope.own(k.recipient))
    return int(await connection.scalar(query) or 0)


async def _with_shares(
    connection: AsyncConnection, scope: Scope, rows: Iterable[Mapping[Any, Any]]
) -> list[Correction]:
    wanted = list(rows)
    c, k = corrections.c, corrected_shares.c
    of = await connection.execute(
        select(corrected_shares, shown_study_uid(scope).label("shown"), veiled(scope).label("veiled"))
        .select_from(
            corrected_shares.join(shares, shares.c.id == k.share).join(corrections, c.id == k.correction)
        )
        .where(k.correction.in_([row["id"] for row in wanted]), scope.either(c.source, k.recipient))
        .order_by(k.recipient, k.at)
    )
    by_correction: dict[UUID, list[Any]] = defaultdict(list)
    for row in of:
        by_correction[row.correction].append(row)
    return [_correction(scope, row, by_correction[row["id"]]) for row in wanted]


def _correction(scope: Scope, row: Mapping[Any, Any], concerned: list[Any]) -> Correction:
    own = scope.institution in {None, row["source"]}
    # where one share of the study is veiled from the caller and another is not, the veil is lifted already
    hidden = not own and all(one.veiled for one in concerned)
    names = ("id", "kind", "code", "reason", "whole", "instances", "source", "at")
    return Correction(
        **{name: row[name] for name in names},
        title=next((words for code, words in TITLES.items() if code == row["code"]), None),
        study_uid=row["study_uid"] if not hidden else concerned[0].shown,
        opened_by=row["actor"] if own else None,
        note_sop_instance_uid=None if hidden else row["note_uid"],
        concerned=[
            Concerned(
                share=one.share,
                recipient=one.recipient,
                state=one.state,
                reason=one.reason,
                notified_at=one.notified_at,
                outstanding_since=None if one.acknowledged_at or one.state == "stopped" else one.at,
                acknowledged_at=one.acknowledged_at,
                acknowledged_by=one.acknowledged_by,
                remark=one.remark,
            )
            for one in concerned
        ],
    )
