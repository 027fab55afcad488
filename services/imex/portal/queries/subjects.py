"""What the network has of a person: which studies, whether they can go, and what services answered."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import func, null, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.tables import audit, delivery, portal, routing, validation
from imex.directory.policies import LEGAL_DUTIES
from imex.events.commands import SubjectStudy
from imex.sharing.persons import Person, person

FINDINGS = {
    "routing": routing.subject_findings,
    "validation": validation.subject_findings,
    "delivery": delivery.subject_findings,
    "audit": audit.subject_findings,
}
REPORT_USABLE = timedelta(days=7)
"""How long an erasure or a rectification can rest on a report; its person is kept sealed as long."""
UNDER_WAY = frozenset({"requested", "accepted", "collecting", "delivering"})
_OF_PERSON = text(
    "SELECT source, study_uid, issuer, patient_id FROM routing.studies"
    " WHERE regexp_replace(patient_id, '[ -]', '', 'g') = :written"
    " UNION SELECT s.source, s.study_uid, s.issuer, s.patient_id FROM validation.studies s"
    " WHERE s.issuer = :issuer AND s.patient_id = :patient_id"
    " UNION SELECT l.source, l.study_uid, l.issuer, l.patient_id FROM validation.links l"
    " WHERE l.issuer = :issuer AND l.patient_id = :patient_id ORDER BY 1, 2"
)


class Found(BaseModel):
    """What one place has."""

    service: str
    place: str
    found: int
    done: int = Field(description="erased, or put right")
    kept: int
    why: str = Field(description="of what is kept")


class Subject(BaseModel):
    """A report, an erasure or a rectification. It names nobody."""

    id: UUID
    command: str
    report: UUID | None = Field(description="that it rests on")
    actor: str
    reason: str
    at: AwareDatetime
    studies: int
    under_way: int = Field(description="shares that have not arrived yet: only a forced erasure stops them")
    complete: bool = Field(description="every service has answered")
    waits_for: list[str]
    places: list[Found]


class Standing(BaseModel):
    """The studies of a person as they stand now."""

    studies: list[SubjectStudy]
    under_way: int


async def standing(connection: AsyncConnection, who: Person) -> Standing:
    """Which studies are the person's, which of them have to stay, and how many shares are under way."""
    asked = {"written": who.written, "issuer": who.issuer, "patient_id": who.patient_id}
    keys = sorted(
        {
            (row.source, row.study_uid)
            for row in await connection.execute(_OF_PERSON, asked)
            if person(row.source, row.issuer, row.patient_id) == who
        }
    )
    if not keys:
        return Standing(studies=[], under_way=0)
    s, h, st = routing.shares.c, routing.holds.c, routing.studies.c
    held = {
        (row.source, row.study_uid): "legal hold"
        for row in await connection.execute(
            select(h.source, h.study_uid).where(tuple_(h.source, h.study_uid).in_(keys))
        )
    }
    lifted = {
        (row.source, row.study_uid)
        for row in await connection.execute(
            select(st.source, st.study_uid).where(
                tuple_(st.source, st.study_uid).in_(keys), st.hold_lifted_at.is_not(None)
            )
        )
    }
    under_way = 0
    rows = await connection.execute(
        select(s.source, s.study_uid, s.state, s.purpose, s.legal_hold).where(
            tuple_(s.source, s.study_uid).in_(keys)
        )
    )
    duties: dict[tuple[str, str], str] = defaultdict(str)
    for row in rows:
        key = (row.source, row.study_uid)
        under_way += row.state in UNDER_WAY
        if row.state != "refused" and (row.legal_hold or row.purpose in LEGAL_DUTIES) and key not in lifted:
            duties[key] = f"shared for {row.purpose} and held until somebody lifts it"
    return Standing(
        studies=[
            SubjectStudy(source=key[0], study_uid=key[1], kept=held.get(key) or duties[key]) for key in keys
        ],
        under_way=under_way,
    )


async def objects(connection: AsyncConnection, studies: Sequence[SubjectStudy], limit: int) -> list[str]:
    """Keys of objects that hold the person beside payloads: changed copies in inboxes, rejection notes."""
    keys = [(one.source, one.study_uid) for one in studies if not one.kept]
    if not keys:
        return []
    s, i, c = routing.shares.c, delivery.inbox_instances.c, routing.corrections.c
    copies = (
        select(i.object_key)
        .join(routing.shares, s.id == i.share)
        .where(tuple_(s.source, s.study_uid).in_(keys), i.own)
        .limit(limit)
    )
    notes = select(c.note_key).where(
        tuple_(c.source, c.study_uid).in_(keys),
        c.note_sent_by == "imex",
        c.note_key.is_not(None),
        c.note_deleted_at.is_(None),
    )
    found = [*(await connection.execute(copies)).scalars(), *(await connection.execute(notes)).scalars()]
    return [str(key) for key in found][:limit]


async def acted(connection: AsyncConnection, account: str, limit: int) -> list[UUID]:
    """Audit records in which somebody who acted is named so, and is not erased."""
    p = audit.personal.c
    query = select(p.event_id).where(p.field.in_(("user", "username")), p.value == account).limit(limit)
    return list((await connection.execute(query)).scalars())


async def put(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Write down what was asked, and forget whom reports were of that nobody has used."""
    p = portal.subjects.c
    await connection.execute(
        update(portal.subjects)
        .where(p.at < func.now() - REPORT_USABLE, p.person.is_not(None))
        .values(person=null())
    )
    await connection.execute(portal.subjects.insert().values(row))


async def sealed_person(connection: AsyncConnection, report: UUID) -> dict[str, Any] | None:
    """Whom a report is of, sealed; None where there is no such report, or the person was erased."""
    p = portal.subjects.c
    found: dict[str, Any] | None = await connection.scalar(
        select(p.person).where(p.id == report, p.command == "report", p.at >= func.now() - REPORT_USABLE)
    )
    return found


async def forget(connection: AsyncConnection, report: UUID) -> None:
    """The report names nobody any more, not even sealed."""
    p = portal.subjects.c
    await connection.execute(update(portal.subjects).where(p.id == report).values(person=null()))


async def get(connection: AsyncConnection, subject: UUID, at: Standing | None = None) -> Subject | None:
    """One of them, with what services have answered so far."""
    row = (
        await connection.execute(select(portal.subjects).where(portal.subjects.c.id == subject))
    ).one_or_none()
    if row is None:
        return None
    places: list[Found] = []
    waits_for = []
    for service, table in FINDINGS.items():
        answered = await connection.scalar(select(table.c.findings).where(table.c.command == subject))
        if answered is None:
            waits_for.append(service)
        places += [Found(service=service, **one) for one in answered or ()]
    of_studies = next((one.found for one in places if one.place == "routing.studies"), 0)
    return Subject(
        id=row.id,
        command=row.command,
        report=row.report,
        actor=row.actor,
        reason=row.reason,
        at=row.at,
        studies=len(at.studies) if at else of_studies,
        under_way=at.under_way if at else 0,
        complete=not waits_for,
        waits_for=waits_for,
        places=places,
    )
