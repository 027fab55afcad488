"""Links of temporary identities: the study is a known person's from then on, with what is marked of them."""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict
from sqlalchemy import update

from imex.db import UnitOfWork
from imex.db.tables.routing import studies
from imex.events.commands import LinkCommanded
from imex.events.sealed import Sealed
from imex.routing import publish
from imex.routing.docket import Docket
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.revocation import hold
from imex.routing.surroundings import Surroundings


class Linked(BaseModel):
    """Who a study is of. Patient data: never log it."""

    model_config = ConfigDict(frozen=True)

    issuer: str
    patient_id: str


OpenLinked = Callable[[Sealed, bytes], Linked]


async def obey(
    unit: UnitOfWork, command: LinkCommanded, around: Surroundings, open_linked: OpenLinked
) -> None:
    """Go by a link: in finding, in marks of the record, in priors; each share's timeline tells of it."""
    asked = command.data
    person = open_linked(asked.person, f"link/{asked.link}".encode())
    repository = Repository(unit.connection)
    key = (asked.source, asked.study_uid)
    known = await repository.lock_studies([key])
    if key not in known:
        return
    s = studies.c
    await unit.connection.execute(
        update(studies)
        .where(s.source == asked.source, s.study_uid == asked.study_uid)
        .values(issuer=person.issuer, patient_id=person.patient_id, patient_name="")
    )
    actor = publish.person(asked.actor, asked.actor_institution)
    docket = Docket(unit, repository, await repository.shares_of([key]), around.moved)
    cause = Cause(command.id, around.clock(), actor)
    words = "linked to a known person" + (f": {asked.reason}" if asked.reason else "")
    for share in docket.of(known[key]):
        docket.note(share, "identity_linked", cause, reason=words)
    await docket.write()
    await hold(unit, around, [key], lambda held: Cause(held, around.clock(), actor), str(command.id))
