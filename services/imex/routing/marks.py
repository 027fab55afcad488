"""Marks of people's records: administrators set them, and what has not been delivered is asked again."""

from collections.abc import Callable

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert

from imex.db import UnitOfWork
from imex.db.tables.routing import marks
from imex.events.commands import MarkCommanded
from imex.events.sealed import Sealed, SealedPerson, seal_context
from imex.routing import publish
from imex.routing.repository import Repository
from imex.routing.sitting import hold, sitting
from imex.routing.surroundings import Surroundings
from imex.sharing.persons import person, person_of

OpenPerson = Callable[[Sealed, bytes], SealedPerson]
"""Opens who a command is about, in the context that it was sealed in."""

_OF_PATIENT = text(
    "SELECT source, study_uid FROM routing.studies"
    " WHERE regexp_replace(patient_id, '[ -]', '', 'g') = :written ORDER BY 1, 2"
)


async def obey(
    unit: UnitOfWork, command: MarkCommanded, around: Surroundings, open_person: OpenPerson
) -> None:
    """Set or take away a mark, in the order of the commands."""
    asked = command.data
    named = open_person(asked.person, seal_context("mark", asked.mark))
    whose = person("", named.issuer, named.patient_id)
    if whose is None or not whose.issuer:
        return
    values = {
        "opted_out": asked.opted_out,
        "sensitive": asked.sensitive,
        "reason": asked.reason,
        "set_by": asked.actor,
        "at": around.clock(),
    }
    await unit.connection.execute(
        insert(marks)
        .values(issuer=whose.issuer, patient_id=whose.patient_id, **values)
        .on_conflict_do_update(index_elements=["issuer", "patient_id"], set_=values)
    )
    found = await Repository(unit.connection).studies_by(_OF_PATIENT, written=whose.written)
    keys = [study.key for study in found if person_of(study) == whose]
    if keys:
        actor = publish.person(asked.actor, asked.actor_institution)
        async with sitting(unit, around, keys) as now:
            hold(now, around.clock(), str(command.id), actor)
