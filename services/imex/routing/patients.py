"""The studies of one person that a source has sent, by the identifier that they came under."""

from sqlalchemy import text

from imex.routing.repository import Repository
from imex.sharing.model import Study
from imex.sharing.persons import Person, person_of

_OF_PATIENT = text(
    "SELECT source, study_uid FROM routing.studies WHERE source = :source"
    " AND regexp_replace(patient_id, '[ -]', '', 'g') = :written AND validated > 0"
)


async def studies_of(repository: Repository, source: str, whose: Person) -> list[Study]:
    """Those of which something was accepted; nothing is locked."""
    rows = await repository.studies_by(_OF_PATIENT, source=source, written=whose.written)
    return [study for study in rows if person_of(study) == whose]
