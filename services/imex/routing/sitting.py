"""Studies locked, with what it takes to decide about them, and everything written at the end."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from imex.db import UnitOfWork
from imex.events import ids
from imex.events.audit import Actor
from imex.routing import publish, studies
from imex.routing.deciding import Deciding
from imex.routing.docket import Docket
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.surroundings import Surroundings
from imex.sharing.model import Study, StudyKey


@dataclass(frozen=True, slots=True)
class Sitting:
    """Those of the studies that are known; an entry may be replaced, and is written as it then is."""

    studies: dict[StudyKey, Study]
    docket: Docket
    deciding: Deciding


@asynccontextmanager
async def sitting(
    unit: UnitOfWork, around: Surroundings, keys: Collection[StudyKey]
) -> AsyncIterator[Sitting]:
    """Lock studies; on a clean end, what has become of them is written in the unit's transaction."""
    repository = Repository(unit.connection)
    known = await repository.lock_studies(keys)
    docket = Docket(unit, repository, await repository.shares_of(known), around.moved)
    backgrounds = await around.backgrounds.around(unit.connection, list(known.values()))
    deciding = Deciding(docket, around.index(), backgrounds)
    yield Sitting(known, docket, deciding)
    now = around.clock()
    await repository.save_studies(
        [studies.finished(study, docket.of(study), now) for study in known.values()]
    )
    await docket.write()
    await deciding.write(unit.connection)


def hold(now: Sitting, at: datetime, occasion: str, actor: Actor | None = None) -> None:
    """Hold what is not delivered of the studies to what is in force now.

    `occasion` tells this look from others, so that a repeat has the same cause; without `actor` it is
    routing's own.
    """
    for study in now.studies.values():
        cause = ids.derived("hold", *study.key, occasion)
        now.deciding.hold(study, Cause(cause, at, actor or publish.service()))
