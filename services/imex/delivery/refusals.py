"""What destinations have refused, shared by all processes, and forgotten after a while."""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from imex.db import Database, UnitOfWork
from imex.db.tables.delivery import refusals
from imex.delivery.jobs import Job
from imex.delivery.targets import CannotDeliver, Context


class Remembered(CannotDeliver):
    """The destination has said so a moment ago, and was not asked again."""


class Refusals:
    """Refusals by destination and place. All methods raise what the database raises."""

    def __init__(self, database: Database, contexts_s: float = 3600.0, rejections_s: float = 20.0) -> None:
        """How long a refused presentation context and a rejected association are remembered, in seconds."""
        self._database = database
        self._contexts = timedelta(seconds=contexts_s)
        self._rejections = timedelta(seconds=rejections_s)

    async def of(self, job: Job, place: str) -> dict[Context, str]:
        """What is known of the job's destination.

        Raises:
            Remembered: it has rejected an association a moment ago, and would again.
        """
        left = func.extract("epoch", refusals.c.until - func.now())
        columns = (refusals.c.sop_class_uid, refusals.c.transfer_syntax, refusals.c.reason)
        statement = select(*columns, left.label("left")).where(
            refusals.c.recipient == job.recipient,
            refusals.c.endpoint == job.endpoint,
            refusals.c.address == place,
            refusals.c.until > func.now(),
        )
        async with self._database.look() as connection:
            rows = (await connection.execute(statement)).all()
        known = {(row.sop_class_uid, row.transfer_syntax): row.reason for row in rows}
        if rejection := known.get(("", "")):
            left_s = next(
                float(row.left) for row in rows if not row.sop_class_uid and not row.transfer_syntax
            )
            raise Remembered(rejection, again_after=left_s)
        return known

    async def learn(self, job: Job, place: str, refused: Mapping[Context, str]) -> None:
        """Remember refused contexts."""
        if refused:
            await self._write(job, place, refused, self._contexts)

    async def learn_rejection(self, job: Job, place: str, words: str, seconds: float | None = None) -> None:
        """Remember that nothing is taken, for `seconds` where it said so, and others need not ask at once."""
        kept = self._rejections if seconds is None else timedelta(seconds=seconds)
        await self._write(job, place, {("", ""): words}, kept)

    async def _write(self, job: Job, place: str, refused: Mapping[Context, str], kept: timedelta) -> None:
        if not kept:
            return
        rows = [
            {
                "recipient": job.recipient,
                "endpoint": job.endpoint,
                "address": place,
                "sop_class_uid": sop_class,
                "transfer_syntax": syntax,
                "reason": words,
                "until": func.now() + kept,
            }
            for (sop_class, syntax), words in sorted(refused.items())
        ]
        new = insert(refusals).values(rows)
        changed = {name: new.excluded[name] for name in ("reason", "until")}
        async with self._database.unit() as unit:
            await unit.connection.execute(
                new.on_conflict_do_update(index_elements=list(refusals.primary_key), set_=changed)
            )


async def forget(unit: UnitOfWork, recipient: str, endpoint: str) -> None:
    """Ask a destination for everything again."""
    await unit.connection.execute(
        delete(refusals).where(refusals.c.recipient == recipient, refusals.c.endpoint == endpoint)
    )
