"""What people say of identities: who a temporary one stands for, and what tracing has found of a number."""

from collections.abc import Callable
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables.validation import links, studies, traced
from imex.dicom import compact, qualified
from imex.events.commands import LinkCommanded, NumberCommanded
from imex.events.sealed import Sealed, SealedPerson, seal_context


class Number(BaseModel):
    """An NHS number, and the one in whose place it is not to be used. Patient data: never log it."""

    model_config = ConfigDict(frozen=True)

    nhs_number: str
    superseded_by: str | None = None


OpenPerson = Callable[[Sealed, bytes], SealedPerson]
OpenNumber = Callable[[Sealed, bytes], Number]


async def link(unit: UnitOfWork, command: LinkCommanded, open_person: OpenPerson) -> None:
    """Keep a link, and let what comes of the study later be that person's.

    What is known of the study's name, birth date and sex was of nobody: the next instance that is not
    temporary says it.
    """
    asked = command.data
    person = open_person(asked.person, seal_context("link", asked.link))
    issuer, patient_id = qualified(person.issuer, person.patient_id, asked.source)
    s = studies.c
    here = (s.source == asked.source, s.study_uid == asked.study_uid)
    known = (await unit.connection.execute(studies.select().where(*here).with_for_update())).one_or_none()
    await unit.connection.execute(
        insert(links)
        .values(
            id=asked.link,
            source=asked.source,
            study_uid=asked.study_uid,
            temporary_issuer=known.issuer if known else "",
            temporary_id=known.patient_id if known else "",
            issuer=issuer,
            patient_id=patient_id,
            reason=asked.reason,
            linked_by=asked.actor,
            at=datetime.now(UTC),
        )
        .on_conflict_do_nothing()
    )
    await unit.connection.execute(
        update(studies)
        .where(*here)
        .values(issuer=issuer, patient_id=patient_id, patient_name="", birth_date="", sex="", temporary=False)
    )


async def trace(unit: UnitOfWork, command: NumberCommanded, open_number: OpenNumber) -> None:
    """Keep what tracing has found, in the order of the commands."""
    asked = command.data
    number = open_number(asked.traced, seal_context("number", asked.number))
    values = {
        "status": asked.tracing,
        "superseded_by": number.superseded_by,
        "set_by": asked.actor,
        "at": datetime.now(UTC),
    }
    await unit.connection.execute(
        insert(traced)
        .values(nhs_number=compact(number.nhs_number), **values)
        .on_conflict_do_update(index_elements=["nhs_number"], set_=values)
    )
