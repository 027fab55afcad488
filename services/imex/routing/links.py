"""Links of temporary identities: the study is a known person's from then on, with what is marked of them."""

from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import select, update

from imex.db import UnitOfWork
from imex.db.tables.routing import studies
from imex.events.commands import LinkCommanded
from imex.events.sealed import seal_context
from imex.routing import publish
from imex.routing.marks import OpenPerson
from imex.routing.publish import Cause
from imex.routing.sitting import hold, sitting
from imex.routing.surroundings import Surroundings
from imex.runtime import Park

_ON_ITS_WAY: Final = timedelta(seconds=5)
_LOST: Final = timedelta(days=7)

_log = structlog.get_logger(__name__)


async def obey(
    unit: UnitOfWork, command: LinkCommanded, around: Surroundings, open_person: OpenPerson
) -> None:
    """Go by a link: in finding, in marks of the record, in priors; each share's timeline tells of it."""
    asked = command.data
    known = await unit.connection.scalar(
        select(studies.c.source).where(
            studies.c.source == asked.source, studies.c.study_uid == asked.study_uid
        )
    )
    if known is None and around.clock() - command.time > _LOST:
        _log.warning("a link of a study that never came", source=asked.source, study_uid=asked.study_uid)
        return
    if known is None:
        # validation knows it already: it is on its way here
        raise Park(around.clock() + _ON_ITS_WAY, "the study that is linked has not come here yet")
    person = open_person(asked.person, seal_context("link", asked.link))
    s = studies.c
    # before the sitting, which looks up what is marked of whom the study then is
    await unit.connection.execute(
        update(studies)
        .where(s.source == asked.source, s.study_uid == asked.study_uid)
        .values(issuer=person.issuer, patient_id=person.patient_id, patient_name="")
    )
    cause = Cause(command.id, around.clock(), publish.person(asked.actor, asked.actor_institution))
    words = "linked to a known person" + (f": {asked.reason}" if asked.reason else "")
    async with sitting(unit, around, [(asked.source, asked.study_uid)]) as now:
        for study in now.studies.values():
            for share in now.docket.of(study):
                now.docket.note(share, "identity_linked", cause, reason=words)
        hold(now, cause.at, str(command.id), cause.actor)
