"""Studies locked, with what it takes to change or decide about them, and everything written at the end."""

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
class Locked:
    """Those of the studies that are known; an entry may be replaced, and is written as it then is."""

    studies: dict[StudyKey, Study]
    docket: Docket
    repository: Repository

    def finish(self, at: datetime) -> None:
        """Bring what shares say about their studies up to date."""
        for key, study in self.studies.items():
            self.studies[key] = studies.finished(study, self.docket.of(study), at)


@dataclass(frozen=True, slots=True)
class Sitting(Locked):
    """The same, with what decides about them."""

    deciding: Deciding


@asynccontextmanager
async def locked(unit: UnitOfWork, around: Surroundings, keys: Collection[StudyKey]) -> AsyncIterator[Locked]:
    """Lock studies; on a clean end, what has become of them is written in the unit's transaction."""
    repository = Repository(unit.connection)
    known = await repository.lock_studies(keys)
    docket = Docket(unit, repository, await repository.shares_of(known), around.moved)
    yield Locked(known, docket, repository)
    await repository.save_studies(list(known.values()))
    await docket.write()


@asynccontextmanager
async def sitting(
    unit: UnitOfWork, around: Surroundings, keys: Collection[StudyKey]
) -> AsyncIterator[Sitting]:
    """Lock studies to decide about them; on a clean end they are finished and written, decisions too."""
    async with locked(unit, around, keys) as now:
        backgrounds = await around.backgrounds.around(unit.connection, list(now.studies.values()))
        deciding = Deciding(now.docket, around.index(), backgrounds)
        yield Sitting(now.studies, now.docket, now.repository, deciding)
        now.finish(around.clock())
    await deciding.write(unit.connection)


def hold(now: Sitting, at: datetime, occasion: str, actor: Actor | None = None) -> None:
    """Hold what is not delivered of the studies to what is in force now.

    `occasion` tells this look from others, so that a repeat has the same cause; without `actor` it is
    routing's own.
    """
    for study in now.studies.values():
        cause = ids.derived("hold", *study.key, occasion)
        now.deciding.hold(study, Cause(cause, at, actor or publish.service()))
