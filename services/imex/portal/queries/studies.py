"""Studies as they came in."""

from collections.abc import Mapping
from typing import Any

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import ColumnElement, Select, exists, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.routing import shares, studies
from imex.events.ids import trace_id_hex
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.portal.queries.traces import trace_id_column
from imex.portal.queries.veil import unveiled
from imex.portal.scope import Scope


class StudyInstances(BaseModel):
    """Instances of a study, counted."""

    received: int
    validated: int
    quarantined: int


class Study(BaseModel):
    """One study of one institution."""

    study_uid: str
    source: str
    accession: str
    study_date: str = Field(description="DICOM DA: YYYYMMDD, or empty")
    description: str
    modalities: list[str]
    instances: StudyInstances
    bytes: int
    addressed: bool = Field(description="a share exists for it")
    first_received_at: AwareDatetime
    last_activity_at: AwareDatetime
    expires_at: AwareDatetime | None
    trace_id: str


def _addressed() -> ColumnElement[bool]:
    return exists().where(shares.c.source == studies.c.source, shares.c.study_uid == studies.c.study_uid)


def _visible(scope: Scope) -> ColumnElement[bool]:
    """One's own studies, and those that somebody was allowed to share with one."""
    if scope.institution is None:
        return scope.own(studies.c.source)
    received = exists().where(
        shares.c.source == studies.c.source,
        shares.c.study_uid == studies.c.study_uid,
        shares.c.recipient == scope.institution,
        shares.c.state.not_in(("requested", "refused")),
        unveiled(scope),
    )
    return or_(scope.own(studies.c.source), received)


def _base() -> Select[Any]:
    s = studies.c
    return select(
        s.study_uid,
        s.source,
        s.accession,
        s.study_date,
        s.study_description.label("description"),
        s.modalities,
        s.received,
        s.bytes,
        s.first_received_at,
        s.last_activity_at,
        s.expires_at,
        s.validated,
        s.waiting.label("quarantined"),
        _addressed().label("addressed"),
    )


def _study(row: Mapping[str, Any]) -> Study:
    counts = StudyInstances(
        received=row["received"], validated=row["validated"], quarantined=row["quarantined"]
    )
    named = {name: row[name] for name in Study.model_fields if name in row}
    return Study(**named, instances=counts, trace_id=trace_id_hex(row["source"], row["study_uid"]))


async def listed(
    connection: AsyncConnection,
    scope: Scope,
    *,
    addressed: bool | None,
    limit: int,
    after: str | None = None,
) -> Page[Study]:
    """Studies, the last to come in first. Those that nothing addresses are shown to their sender only."""
    s = studies.c
    query = _base()
    if addressed is False:
        query = query.where(scope.own(s.source), ~_addressed())
    else:
        query = query.where(_visible(scope))
        if addressed:
            query = query.where(_addressed())
    if after is not None:
        at, source, uid = cursors.decode(after, 3)
        query = query.where(
            tuple_(s.first_received_at, s.source, s.study_uid) < (cursors.moment(at), source, uid)
        )
    query = query.order_by(s.first_received_at.desc(), s.source.desc(), s.study_uid.desc())
    rows = (await connection.execute(query.limit(limit + 1))).mappings()
    found = [_study(row) for row in rows]
    if len(found) <= limit:
        return Page(items=found, next=None)
    last = found[limit - 1]
    cursor = cursors.encode(last.first_received_at.isoformat(), last.source, last.study_uid)
    return Page(items=found[:limit], next=cursor)


async def matching(connection: AsyncConnection, scope: Scope, identifier: str, limit: int) -> list[Study]:
    """Studies with that study UID, accession number or trace id."""
    s = studies.c
    tests = [s.study_uid == identifier, s.accession == identifier]
    trace = trace_id_column(s.source, s.study_uid, identifier)
    if trace is not None:
        tests.append(trace)
    query = _base().where(_visible(scope), or_(*tests)).order_by(s.first_received_at.desc()).limit(limit)
    return [_study(row) for row in (await connection.execute(query)).mappings()]


async def known(connection: AsyncConnection, source: str, study_uid: str) -> bool:
    """Whether anything of a study has come in from an institution."""
    wanted = select(studies.c.study_uid).where(studies.c.source == source, studies.c.study_uid == study_uid)
    return await connection.scalar(wanted) is not None


async def of_share_source(
    connection: AsyncConnection, scope: Scope, source: str, study_uid: str
) -> Study | None:
    """One study, if the caller may see it."""
    s = studies.c
    query = _base().where(_visible(scope), s.source == source, s.study_uid == study_uid)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _study(row)


async def unaddressed_count(connection: AsyncConnection, scope: Scope) -> int:
    """How many studies wait for somebody to address them."""
    query = select(func.count()).select_from(studies).where(scope.own(studies.c.source), ~_addressed())
    return int(await connection.scalar(query) or 0)
