"""What a retrieval is about, how far it has come, and what is kept of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from imex.db import UnitOfWork
from imex.portal.context import Portal
from imex.portal.dicomweb import records
from imex.portal.dicomweb.search import view_for
from imex.portal.problems import not_found
from imex.portal.queries import holdings
from imex.portal.queries.holdings import Amount, Narrow, View
from imex.portal.scope import Caller
from imex.portal.streaming import BrokenOff


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: a study, or a part of one."""

    study: str
    series: str | None = None
    instance: str | None = None

    async def narrowed(self, unit: UnitOfWork, view: View) -> Narrow:
        """The images that are meant, of all that the caller may have."""
        about = await holdings.sources_of(unit.connection, view, self.study)
        return Narrow(about, self.series, self.instance)


async def begin(
    portal: Portal, caller: Caller, asked: Asked, how: records.How, part: str
) -> Sequence[Amount]:
    """How much there is of it; kept and told before anything of it is shown."""
    async with portal.database.unit() as unit:
        view = await view_for(unit, caller)
        found = await holdings.amounts(unit.connection, view, await asked.narrowed(unit, view))
        if not found:
            raise not_found("study, series or instance")
        await records.retrieved(unit, caller, found, how, part)
    return found


@dataclass
class Progress:
    """How far a retrieval has come."""

    first: Amount
    images: int = 0


def told_of(portal: Portal, caller: Caller, progress: Progress, how: records.How, part: str) -> BrokenOff:
    """Keeps in the audit record that a retrieval was broken off, and how far it had come."""

    async def told(reason: str) -> None:
        async with portal.database.unit() as unit:
            records.broken_off(unit, caller, progress.first, how, part, images=progress.images, reason=reason)

    return told
