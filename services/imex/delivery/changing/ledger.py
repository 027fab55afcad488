"""What was given in place of what, and recipients' own identifiers: reads and writes of delivery's schema."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import and_, literal, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from imex.db import Database, UnitOfWork
from imex.db.tables.delivery import (
    deliveries,
    given_uids,
    identifiers,
    projects,
    pseudonyms,
    releases,
)
from imex.delivery.changing.decide import Returned
from imex.delivery.changing.facts import Given
from imex.delivery.jobs import Job

_AT_A_TIME: Final = 10_000

# asked once for each attempt, and dearer to build than to answer
_TIES = text(
    """
    SELECT r.project, r.study_uid, r.pseudonym, r.sealed AS study, p.sealed AS patient,
           EXISTS (SELECT FROM delivery.identifiers i
                    WHERE i.recipient = :sender AND i.source = :receiver) AS reverse
      FROM (SELECT 1) AS one
      LEFT JOIN delivery.releases r
             ON r.recipient = :sender AND r.source = :receiver AND r.given_study_uid = :study_uid
      LEFT JOIN delivery.pseudonyms p
             ON p.project = r.project AND p.source = r.source AND p.pseudonym = r.pseudonym
     LIMIT 1
    """
)

_NOTE_UIDS = text(
    """
    INSERT INTO delivery.given_uids (project, original, given)
    SELECT * FROM unnest(CAST(:projects AS text[]), CAST(:originals AS text[]), CAST(:given AS text[]))
        ON CONFLICT DO NOTHING
    """
)


@dataclass(frozen=True, slots=True)
class Mapping:
    """A recipient's own identifier for a sender's. Patient data."""

    id: Any
    issuer: str
    value: str
    own: str
    name: str
    birth_date: str


@dataclass(frozen=True, slots=True)
class Ties:
    """What connects a delivery with earlier ones in the other direction."""

    returned: Returned | None
    reverse: bool


class Ledger:
    """All methods raise what the database raises."""

    def __init__(self, database: Database) -> None:
        """Over delivery's own schema."""
        self._database = database

    async def ties(self, job: Job) -> Ties:
        """Whether the job's sender returns what it got de-identified from the recipient, or has mappings."""
        asked = {"sender": job.source, "receiver": job.recipient, "study_uid": job.study_uid}
        async with self._database.look() as connection:
            row = (await connection.execute(_TIES, asked)).one()
        returned = None
        if row.project is not None and row.patient is not None:
            returned = Returned(row.project, job.study_uid, row.pseudonym, row.patient, row.study)
        return Ties(returned, row.reverse)

    async def begin(self, job: Job, asked: dict[str, Any]) -> None:
        """Note with what de-identification the delivery is sent; the first one stays."""
        async with self._database.unit() as unit:
            await unit.connection.execute(
                update(deliveries)
                .where(deliveries.c.id == job.id, deliveries.c.deidentify.is_(None))
                .values(deidentify=literal(asked, JSONB))
            )

    async def key_id(self, project: str, current: str) -> str:
        """The sealing key that a project's own is derived from; `current` when it begins now."""
        statement = select(projects.c.key_id).where(projects.c.project == project)
        async with self._database.look() as connection:
            found = await connection.scalar(statement)
        if found is not None:
            return str(found)
        async with self._database.unit() as unit:
            await unit.connection.execute(
                insert(projects).values(project=project, key_id=current).on_conflict_do_nothing()
            )
            return str(await unit.connection.scalar(statement))

    async def originals(self, project: str, given: Collection[str]) -> dict[str, str]:
        """The original UIDs, by those that were given for them in a project."""
        found: dict[str, str] = {}
        wanted = sorted(given)
        async with self._database.look() as connection:
            for first in range(0, len(wanted), _AT_A_TIME):
                rows = await connection.execute(
                    select(given_uids.c.given, given_uids.c.original).where(
                        given_uids.c.project == project,
                        given_uids.c.given.in_(wanted[first : first + _AT_A_TIME]),
                    )
                )
                found |= {row.given: row.original for row in rows}
        return found

    async def own_for(
        self, recipient: str, kind: str, source: str, value: str, issuer: str
    ) -> Mapping | None:
        """The recipient's own identifier for one of the source's."""
        return await self._mapping(
            and_(
                identifiers.c.recipient == recipient,
                identifiers.c.kind == kind,
                identifiers.c.source == source,
                identifiers.c.issuer == issuer,
                identifiers.c.value == value,
            )
        )

    async def behind(self, owner: str, kind: str, source: str, own: str) -> Mapping | None:
        """The source's identifier for which the owner has its own."""
        return await self._mapping(
            and_(
                identifiers.c.recipient == owner,
                identifiers.c.kind == kind,
                identifiers.c.source == source,
                identifiers.c.own == own,
            )
        )

    async def _mapping(self, condition: Any) -> Mapping | None:
        i = identifiers.c
        statement = select(i.id, i.issuer, i.value, i.own, i.name, i.birth_date).where(condition)
        async with self._database.look() as connection:
            row = (await connection.execute(statement)).first()
        return Mapping(*row) if row is not None else None

    async def learn_person(self, mapping: Mapping, name: str, birth_date: str) -> None:
        """Note whom a mapping is of, where nobody had said so."""
        async with self._database.unit() as unit:
            for column, known, value in (
                (identifiers.c.name, mapping.name, name),
                (identifiers.c.birth_date, mapping.birth_date, birth_date),
            ):
                if not known and value:
                    await unit.connection.execute(
                        update(identifiers)
                        .where(identifiers.c.id == mapping.id, column == "")
                        .values({column: value})
                    )


async def note_given(unit: UnitOfWork, given: Sequence[Given]) -> None:
    """Write what is needed for the way back, with the outcome of what was sent."""
    pairs = sorted({(one.project, original, uid) for one in given for original, uid in one.uids.items()})
    if pairs:
        await unit.connection.execute(
            _NOTE_UIDS,
            {
                "projects": [project for project, _, _ in pairs],
                "originals": [original for _, original, _ in pairs],
                "given": [uid for _, _, uid in pairs],
            },
        )
    people = {(one.project, one.source, one.pseudonym): one for one in given}
    for key in sorted(people):
        await _put(unit, pseudonyms, dict(zip(("project", "source", "pseudonym"), key, strict=True)),
                   {"sealed": dict(people[key].sealed_patient)})  # fmt: skip
    studies = {(one.project, one.recipient, one.source, one.study_uid): one for one in given}
    for place in sorted(studies):
        study = studies[place]
        await _put(
            unit,
            releases,
            dict(zip(("project", "recipient", "source", "study_uid"), place, strict=True)),
            {
                "given_study_uid": study.given_study_uid,
                "pseudonym": study.pseudonym,
                "sealed": dict(study.sealed_study),
            },
        )


async def _put(unit: UnitOfWork, table: Any, key: dict[str, str], values: dict[str, Any]) -> None:
    new = insert(table).values(**key, **values)
    await unit.connection.execute(
        new.on_conflict_do_update(
            index_elements=list(key), set_={name: new.excluded[name] for name in values}
        )
    )
