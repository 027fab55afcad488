"""Shares, as INTERFACE §6 says them."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import ColumnElement, Select, and_, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.routing import command_results, shares, studies
from imex.directory import discreet
from imex.events import Priority
from imex.events.ids import trace_id_hex
from imex.events.shares import ShareState
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.portal.queries.traces import trace_id_column
from imex.portal.queries.veil import shown_study_uid, unveiled
from imex.portal.scope import Scope
from imex.sharing.model import Origin, more_urgent


class ShareInstances(BaseModel):
    """Instances of a share, counted."""

    expected: int | None = Field(description="null while collecting: more may come")
    received: int
    validated: int
    quarantined: int
    delivered: int
    failed: int


class Share(BaseModel):
    """One share."""

    id: UUID
    study_uid: str = Field(
        description="to the recipient of a de-identified share, the one given to it; empty before it has any"
    )
    source: str
    recipient: str
    purpose: str
    legal_basis: str | None
    agreement: str | None
    rule: str | None
    directory_version: str
    controllers: list[str] = Field(description="institutions that decide why and how the data is processed")
    processors: list[str]
    clinician: str | None = Field(description="at the recipient, whom it is for")
    origin: Origin = Field(description="a rule, the called AE title, a wish, or a newer study's rule")
    alternate_of: str | None = Field(description="the recipient in whose place it goes")
    priority: Priority = Field(description="as it is now: an objective at risk may have raised it")
    state: ShareState
    reason: str
    instances: ShareInstances
    bytes: int
    created_at: AwareDatetime
    updated_at: AwareDatetime
    first_image_at: AwareDatetime | None = Field(description="when the destination confirmed the first image")
    last_image_at: AwareDatetime | None = Field(description="the same of the newest one")
    escalated_at: AwareDatetime | None = Field(description="when it was not delivered in its time")
    legal_hold: bool = Field(description="its images stay until somebody lifts the hold")
    retain_days: int | None = Field(
        description="that its images stay after its end, where its agreement says so"
    )
    images_deleted_at: AwareDatetime | None = Field(description="when the time of its images was over")
    trace_id: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Which shares a list is of; what is None does not narrow it."""

    study_uid: str | None = None
    accession: str | None = None
    state: ShareState | None = None
    q: str | None = None


def _base(scope: Scope) -> Select[Any]:
    s, of_study = shares.c, studies.c
    counts = [
        func.coalesce(of_study[column], 0).label(name)
        for column, name in (
            ("received", "received"),
            ("validated", "validated"),
            ("waiting", "quarantined"),
            ("bytes", "bytes"),
        )
    ]
    joined = shares.outerjoin(studies, and_(of_study.source == s.source, of_study.study_uid == s.study_uid))
    shown = shown_study_uid(scope).label("shown_study_uid")
    return select(shares, shown, *counts).select_from(joined).where(scope.either(s.source, s.recipient))


_COMPUTED = frozenset({"instances", "priority", "study_uid", "reason", "bytes", "images_deleted_at"})


def _share(row: Mapping[str, Any], scope: Scope) -> Share:
    # once its images are gone the study may have been sent anew, and is counted anew
    counted = row["at_disposal"] or _carried(row)
    return Share(
        **{name: row[name] for name in Share.model_fields if name in row and name not in _COMPUTED},
        study_uid=row["shown_study_uid"],
        reason=row["reason"] if scope.sees(row["source"]) else discreet(row["reason"]),
        priority=more_urgent(row["priority"], row["escalated_to"] or row["priority"]),
        trace_id=trace_id_hex(row["source"], row["study_uid"]),
        bytes=counted["bytes"],
        images_deleted_at=row["disposed_at"],
        instances=ShareInstances(
            expected=counted["received"] if row["complete"] else None,
            received=counted["received"],
            validated=counted["validated"],
            quarantined=counted["quarantined"],
            delivered=row["confirmed"],
            failed=row["failed"],
        ),
    )


def _carried(row: Mapping[str, Any]) -> dict[str, int]:
    """What is counted of the study, without what the share leaves out of it."""
    left_out = row["left_out"] or {}
    validated, waiting = left_out.get("validated", 0), left_out.get("waiting", 0)
    return {
        "received": row["received"] - validated - waiting - left_out.get("discarded", 0),
        "validated": row["validated"] - validated,
        "quarantined": row["quarantined"] - waiting,
        "bytes": row["bytes"] - left_out.get("bytes", 0),
    }


async def get(connection: AsyncConnection, scope: Scope, share: UUID) -> Share | None:
    """The share, if the caller may see it."""
    rows = await connection.execute(_base(scope).where(shares.c.id == share))
    row = rows.mappings().one_or_none()
    return None if row is None else _share(row, scope)


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What routing made of a command: `done`, `noted` (nothing to change) or `rejected`, and why."""

    outcome: str
    message: str
    share: UUID | None


async def result_of(connection: AsyncConnection, command: UUID, recipient: str) -> CommandResult | None:
    """What became of a command about a share to `recipient`; None while routing has not got to it.

    A command's id is known to its sender alone, and the share it names is read with the caller's scope.
    """
    r = command_results.c
    query = select(r.outcome, r.message, r.share)
    row = (
        await connection.execute(query.where(r.command_id == command, r.recipient == recipient))
    ).one_or_none()
    return None if row is None else CommandResult(row.outcome, row.message, row.share)


async def made_by(connection: AsyncConnection, scope: Scope, command: UUID) -> Share | None:
    """The share that `command` made, or that it turned out to be about."""
    r = command_results.c
    about = select(r.share).where(r.command_id == command, r.share.is_not(None))
    query = _base(scope).where(shares.c.id.in_(about)).order_by(shares.c.created_at.desc()).limit(1)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _share(row, scope)


async def listed(
    connection: AsyncConnection, scope: Scope, wanted: Filter, limit: int, after: str | None = None
) -> Page[Share]:
    """Shares, the newest first."""
    s = shares.c
    query = _base(scope)
    if wanted.study_uid is not None:
        query = query.where(shown_study_uid(scope) == wanted.study_uid)
    if wanted.accession is not None:
        query = query.where(studies.c.accession == wanted.accession, unveiled(scope))
    if wanted.state is not None:
        query = query.where(s.state == wanted.state)
    if wanted.q is not None:
        query = query.where(matches(scope, wanted.q))
    if after is not None:
        at, identifier = cursors.moment_and_id(after)
        query = query.where(tuple_(s.created_at, s.id) < (at, identifier))
    query = query.order_by(s.created_at.desc(), s.id.desc()).limit(limit + 1)
    found = [_share(row, scope) for row in (await connection.execute(query)).mappings()]
    last = found[limit - 1] if len(found) > limit else None
    return Page(items=found[:limit], next=last and cursors.encode(last.created_at.isoformat(), str(last.id)))


def matches(scope: Scope, identifier: str) -> ColumnElement[bool]:
    """Shares that `identifier` names: a study UID, an accession number, a share's id or a trace id."""
    s = shares.c
    tests: list[ColumnElement[bool]] = [
        shown_study_uid(scope) == identifier,
        and_(studies.c.accession == identifier, unveiled(scope)),
    ]
    with contextlib.suppress(ValueError):
        tests.append(s.id == UUID(identifier))
    trace = trace_id_column(s.source, s.study_uid, identifier)
    if trace is not None:
        tests.append(trace)
    return or_(*tests)


async def study_of(connection: AsyncConnection, scope: Scope, share: UUID) -> tuple[str, str, str] | None:
    """Source, study UID and recipient of a share that the caller may see."""
    s = shares.c
    row = (
        await connection.execute(
            select(s.source, s.study_uid, s.recipient).where(
                s.id == share, scope.either(s.source, s.recipient)
            )
        )
    ).one_or_none()
    return None if row is None else (row.source, row.study_uid, row.recipient)


async def disposed(connection: AsyncConnection, share: UUID) -> bool:
    """Whether the images of a share that the caller may see have been deleted."""
    return await connection.scalar(select(shares.c.disposed_at).where(shares.c.id == share)) is not None
