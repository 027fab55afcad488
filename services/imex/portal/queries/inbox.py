"""What lies in inboxes, what is on its way there, and what waits for its recipient to accept it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    and_,
    cast,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables.delivery import inbox_instances, inbox_shares
from imex.db.tables.routing import instances, shares, studies
from imex.directory import Directory
from imex.events import Priority
from imex.events.shares import ShareState
from imex.portal.queries import cursors
from imex.portal.queries.page import Page
from imex.portal.queries.veil import shown_study_uid, veiled
from imex.portal.scope import Scope
from imex.sharing.model import more_urgent

Standing = Literal["waiting", "coming", "there"]
"""Waiting to be accepted; accepted and not there yet; something of it can be read."""

READABLE: frozenset[ShareState] = frozenset({"delivering", "delivered", "partial"})
"""States of a share in which what lies in an inbox may be read."""
_COMING: frozenset[ShareState] = frozenset({"accepted", "collecting", "delivering"})


class InboxShare(BaseModel):
    """A share that goes, or went, to an inbox, as its recipient sees it."""

    id: UUID
    standing: Standing
    source: str
    recipient: str
    purpose: str
    clinician: str | None
    priority: Priority
    state: ShareState
    reason: str
    modalities: list[str]
    study_uid: str = Field(description="of a de-identified share, the one given; empty before it has any")
    description: str = Field(description="of the study; empty before it is accepted, and if de-identified")
    study_date: str
    accession: str
    deidentified: bool
    images: int = Field(description="of the study, as far as it has come in")
    bytes: int
    requested_at: AwareDatetime
    arrived_at: AwareDatetime | None = Field(description="when the first image came to the inbox")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Which endpoints of the directory are inboxes."""

    named: frozenset[tuple[str, str]]
    """Institution and name."""
    first: frozenset[str]
    """Institutions to whose inbox a share goes that names no endpoint."""

    @classmethod
    def of(cls, directory: Directory) -> "Endpoints":
        """Those of a directory."""
        return cls(
            frozenset(
                (one.code, endpoint.name)
                for one in directory.institutions
                for endpoint in one.endpoints
                if endpoint.type == "inbox"
            ),
            frozenset(
                one.code
                for one in directory.institutions
                if one.endpoints and one.endpoints[0].type == "inbox"
            ),
        )

    def lead_there(self, scope: Scope) -> ColumnElement[bool]:
        """Shares that go to one of them."""
        s = shares.c
        mine = [one for one in self.named if scope.institution in {None, one[0]}]
        if not mine:
            return false()
        unnamed = and_(s.endpoint.is_(None), s.recipient.in_(sorted(self.first)))
        return or_(tuple_(s.recipient, s.endpoint).in_(sorted(mine)), unnamed)


def received_by(scope: Scope) -> ColumnElement[bool]:
    """Shares whose recipient the caller belongs to: nobody else reads inboxes."""
    return scope.own(shares.c.recipient)


def _base(scope: Scope) -> Select[Any]:
    of_study = studies.c
    joined = shares.outerjoin(
        studies, and_(of_study.source == shares.c.source, of_study.study_uid == shares.c.study_uid)
    ).outerjoin(inbox_shares, inbox_shares.c.share == shares.c.id)
    return (
        select(
            shares,
            inbox_shares.c.at.label("arrived_at"),
            shown_study_uid(scope).label("shown_study_uid"),
            veiled(scope).label("veiled"),
            of_study.modalities,
            of_study.study_description,
            of_study.study_date,
            of_study.accession,
            (func.coalesce(of_study.received, 0) - _left_out("validated", "waiting", "discarded")).label(
                "images"
            ),
            (func.coalesce(of_study.bytes, 0) - _left_out("bytes")).label("bytes"),
        )
        .select_from(joined)
        .where(received_by(scope))
    )


def _left_out(*counts: str) -> ColumnElement[int]:
    """What a share does not carry of its study."""
    found: ColumnElement[int] = literal(0)
    for name in counts:
        found += func.coalesce(cast(shares.c.left_out[name].astext, BigInteger), 0)
    return found


def _standing(scope: Scope, standing: Standing, endpoints: Endpoints) -> ColumnElement[bool]:
    s = shares.c
    match standing:
        case "waiting":  # a share stays so only where an inbox asks for acceptance
            return s.state == "requested"
        case "coming":
            nothing_there = inbox_shares.c.share.is_(None)
            return and_(s.state.in_(_COMING), nothing_there, endpoints.lead_there(scope))
        case "there":
            return and_(s.state.in_(READABLE), s.disposed_at.is_(None), inbox_shares.c.share.is_not(None))


async def listed(
    connection: AsyncConnection,
    scope: Scope,
    standing: Standing,
    endpoints: Endpoints,
    *,
    limit: int,
    after: str | None = None,
) -> Page[InboxShare]:
    """Shares of one standing, the newest first."""
    at = inbox_shares.c.at if standing == "there" else shares.c.created_at
    query = _base(scope).where(_standing(scope, standing, endpoints))
    if scope.institution is not None and standing == "there":
        query = query.where(inbox_shares.c.recipient == scope.institution)
    if after is not None:
        query = query.where(tuple_(at, shares.c.id) < cursors.moment_and_id(after))
    rows = await connection.execute(query.order_by(at.desc(), shares.c.id.desc()).limit(limit + 1))
    found = [_share(row, standing) for row in rows.mappings()]
    last = found[limit - 1] if len(found) > limit else None
    if last is None:
        return Page(items=found, next=None)
    key = last.arrived_at if standing == "there" and last.arrived_at else last.requested_at
    return Page(items=found[:limit], next=cursors.encode(key.isoformat(), str(last.id)))


def _share(row: Mapping[Any, Any], standing: Standing) -> InboxShare:
    hidden = row["veiled"] or standing == "waiting"
    names = ("id", "source", "recipient", "purpose", "clinician", "state", "reason", "arrived_at", "images")
    return InboxShare(
        **{name: row[name] for name in names},
        standing=standing,
        priority=more_urgent(row["priority"], row["escalated_to"] or row["priority"]),
        modalities=sorted(row["modalities"] or ()),
        study_uid="" if standing == "waiting" else row["shown_study_uid"],
        description="" if hidden else row["study_description"] or "",
        study_date="" if hidden else row["study_date"] or "",
        accession="" if hidden else row["accession"] or "",
        deidentified=row["deidentified"],
        bytes=row["bytes"],
        requested_at=row["created_at"],
    )


async def waiting_count(connection: AsyncConnection, scope: Scope) -> int:
    """How many shares wait for the caller's institution to accept them."""
    query = select(func.count()).select_from(shares).where(received_by(scope), shares.c.state == "requested")
    return int(await connection.scalar(query) or 0)


async def one(connection: AsyncConnection, scope: Scope, share: UUID) -> InboxShare | None:
    """A share of which something lies in an inbox of the caller's."""
    query = _base(scope).where(shares.c.id == share, inbox_shares.c.share.is_not(None))
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _share(row, "there")


class Person(BaseModel):
    """Whom a study is of."""

    name: str
    patient_id: str
    issuer: str
    birth_date: str


async def person(connection: AsyncConnection, scope: Scope, share: UUID) -> Person | None:
    """Whom the study of a share in an inbox is of; None where the recipient must not be told."""
    s, of_study = shares.c, studies.c
    row = (
        await connection.execute(
            select(of_study.patient_name, of_study.patient_id, of_study.issuer, of_study.birth_date)
            .select_from(
                shares.join(studies, and_(of_study.source == s.source, of_study.study_uid == s.study_uid))
            )
            .where(s.id == share, received_by(scope), ~veiled(scope), s.state.in_(READABLE))
        )
    ).one_or_none()
    if row is None:
        return None
    return Person(
        name=row.patient_name, patient_id=row.patient_id, issuer=row.issuer, birth_date=row.birth_date
    )


class InboxInstance(BaseModel):
    """An instance as it lies in an inbox."""

    sop_instance_uid: str = Field(description="of a changed instance, the one that was given")
    sop_class_uid: str
    transfer_syntax: str
    size: int = Field(description="bytes of the encoded data set")
    digest: str = Field(description="of the encoded data set that is handed out")
    at: AwareDatetime


@dataclass(frozen=True, slots=True)
class Lying:
    """Where an instance lies. The key of an object is nothing that readers see."""

    object_key: str
    instance: InboxInstance


def _lying(row: Row[Any]) -> Lying:
    return Lying(
        row.object_key,
        InboxInstance(
            sop_instance_uid=row.given_sop_instance_uid,
            sop_class_uid=row.sop_class_uid,
            transfer_syntax=row.transfer_syntax,
            size=row.size,
            digest=row.given_digest,
            at=row.at,
        ),
    )


def _readable(scope: Scope, share: UUID) -> Select[Any]:
    """What lies of a share that may be read at this moment; what its sender recalled may not."""
    s, i = shares.c, instances.c
    recalled = exists().where(
        i.source == s.source, i.sop_instance_uid == inbox_instances.c.sop_instance_uid, i.recalled
    )
    return (
        select(inbox_instances)
        .join(shares, s.id == inbox_instances.c.share)
        .where(s.id == share, received_by(scope), s.state.in_(READABLE), s.disposed_at.is_(None))
        .where(~recalled)
    )


async def lying(
    connection: AsyncConnection, scope: Scope, share: UUID, limit: int, after: str = ""
) -> list[Lying]:
    """Instances of a share that may be read, in the order of the UIDs under which they lie there."""
    given = inbox_instances.c.given_sop_instance_uid
    query = _readable(scope, share).where(given > after).order_by(given).limit(limit)
    return [_lying(row) for row in await connection.execute(query)]


async def lying_one(connection: AsyncConnection, scope: Scope, share: UUID, uid: str) -> Lying | None:
    """One of them, by the UID under which it lies there."""
    query = _readable(scope, share).where(inbox_instances.c.given_sop_instance_uid == uid)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _lying(row)


async def is_readable(connection: AsyncConnection, scope: Scope, share: UUID) -> bool:
    """Whether a share may be read at this moment, as far as its state goes."""
    s = shares.c
    query = select(s.id).where(s.id == share, received_by(scope), s.state.in_(READABLE))
    return await connection.scalar(query.where(s.disposed_at.is_(None))) is not None


@dataclass(frozen=True, slots=True)
class Amount:
    """How much lies in an inbox."""

    images: int
    bytes: int


async def amount(connection: AsyncConnection, scope: Scope, share: UUID) -> Amount:
    """Of a share, of what may be read."""
    counted = _readable(scope, share).subquery()
    row = (await connection.execute(select(func.count(), func.coalesce(func.sum(counted.c.size), 0)))).one()
    return Amount(int(row[0]), int(row[1]))
