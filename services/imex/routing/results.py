"""The loop behind results: told where what a recipient made of a study has arrived where that came from.

It also looks again for those that came sooner than delivery's word of how their maker knows the study.
"""

from uuid import UUID

from sqlalchemy import select, text, update

from imex.db import Database
from imex.db.tables import routing as tables
from imex.events import ids
from imex.routing import publish, studies
from imex.routing.docket import Docket
from imex.routing.publish import Cause
from imex.routing.repository import Repository
from imex.routing.sitting import sitting
from imex.routing.surroundings import Surroundings
from imex.sharing.model import Share
from imex.sharing.results import RESULT_CLASSES

_BATCH = 50
# the newest share that brought the study to who sends something of it back
_DUE = text(
    "SELECT r.id, r.source AS by, r.study_uid AS of_study, r.confirmed, r.receipt_revision,"
    " c.id AS caused_by, c.source, c.study_uid"
    " FROM (SELECT * FROM routing.shares WHERE result_due ORDER BY delivered_at LIMIT :limit) r"
    " LEFT JOIN LATERAL (SELECT c.id, c.source, c.study_uid FROM routing.shares c"
    "  WHERE (c.study_uid = ANY(ARRAY[r.study_uid] || (SELECT st.referenced FROM routing.studies st"
    "   WHERE st.source = r.source AND st.study_uid = r.study_uid AND r.origin = 'return'))"
    "   OR c.given_study_uid = r.study_uid) AND c.source = r.recipient"
    "  AND c.recipient = r.source AND c.parts > 0 AND c.origin <> 'return' AND c.created_at < r.created_at"
    "  ORDER BY c.created_at DESC LIMIT 1) c ON true"
)

# what came by the UID that the study was given, before it was known here
_SOONER = text(
    "SELECT s.id, s.recipient, s.given_study_uid FROM routing.shares s WHERE s.return_due"
    " ORDER BY s.created_at LIMIT :limit"
)


class Results:
    """Looks again and again."""

    def __init__(self, database: Database, around: Surroundings) -> None:
        """The clock says when it is told."""
        self._database = database
        self._around = around

    async def turn(self) -> bool:
        """Tell of the shares that arrived since, and look again; true where more may be."""
        return await self._look_again() | await self._tell_of_arrived()

    async def _look_again(self) -> bool:
        if self._around.directories.current() is None:
            return False
        async with self._database.look() as connection:
            due = list(await connection.execute(_SOONER, {"limit": _BATCH}))
        for share, recipient, given in due:
            key = (recipient, given)
            async with self._database.unit() as unit, sitting(unit, self._around, [key]) as now:
                study = now.studies.get(key)
                if study is not None and not study.sop_classes.isdisjoint(RESULT_CLASSES):
                    cause = Cause(ids.derived("returns", str(share)), self._around.clock())
                    for opened in now.deciding.ask(study, cause):
                        now.studies[key] = studies.due_again(now.studies[key], opened)
                await unit.connection.execute(
                    update(tables.shares).where(tables.shares.c.id == share).values(return_due=False)
                )
        return len(due) == _BATCH

    async def _tell_of_arrived(self) -> bool:
        async with self._database.unit() as unit:
            due = list(await unit.connection.execute(_DUE, {"limit": _BATCH}))
            # whoever changes a share has its study locked: what is read after this stays so
            repository = Repository(unit.connection)
            of_due = {(row.by, row.of_study) for row in due}
            causes = {(row.source, row.study_uid) for row in due if row.caused_by is not None}
            known = await repository.lock_studies(of_due | causes)
            s = tables.shares.c
            still = set(
                await unit.connection.scalars(
                    select(s.id).where(s.id.in_([row.id for row in due]), s.result_due)
                )
            )
            returned = [row for row in due if row.caused_by is not None and row.id in still]
            if returned:
                docket = Docket(unit, repository, await repository.shares_of(known), self._around.moved)
                for row in returned:
                    if (share := docket.get(row.caused_by)) is not None:
                        self._tell(docket, share, row.id, row.by, row.confirmed, row.receipt_revision or 0)
                await docket.write()
            if due:
                await unit.connection.execute(
                    update(tables.shares).where(s.id.in_([row.id for row in due])).values(result_due=False)
                )
        return len(due) == _BATCH

    def _tell(  # noqa: PLR0917  what is told
        self, docket: Docket, share: Share, result: UUID, by: str, instances: int, revision: int
    ) -> None:
        cause = Cause(
            ids.derived("result", str(result), str(revision)), self._around.clock(), publish.institution(by)
        )
        images = f"{instances} image{'' if instances == 1 else 's'}"
        docket.note(
            share,
            "result_returned",
            cause,
            reason=f"{by} has sent a result of {images}",
            details={"share": str(result), "instances": instances},
        )
        docket.announce(share, "result_returned", cause, {"by": by, "share": result, "instances": instances})
