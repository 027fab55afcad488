"""What an attempt reads, and the outcomes it writes as they happen."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from enum import Enum
from uuid import UUID

from sqlalchemy import and_, func, or_, select, text, update

from imex.db import Database, UnitOfWork
from imex.db.tables.delivery import deliveries, instances, parts
from imex.delivery import facts
from imex.delivery.decide import Tally, Verdict
from imex.delivery.jobs import Instance, Job, Outcome, held_by
from imex.events import ids

PAGE = 500

_RECORD = text(
    """
    UPDATE delivery.instances AS i
       SET state = v.state, status = v.status, reason = v.reason, at = v.at,
           attempts = i.attempts + v.again
      FROM unnest(CAST(:uids AS text[]), CAST(:digests AS text[]), CAST(:states AS text[]),
                  CAST(:statuses AS text[]), CAST(:reasons AS text[]), CAST(:ats AS timestamptz[]),
                  CAST(:again AS int[]))
           AS v(uid, digest, state, status, reason, at, again)
     WHERE i.delivery = :delivery AND i.sop_instance_uid = v.uid AND i.digest = v.digest
       AND i.state = 'waiting'
    RETURNING i.sop_instance_uid, i.state
    """
)


_STOPPED = or_(deliveries.c.withdrawn, deliveries.c.cancelled).label("stopped")


class Standing(Enum):
    """Whether an attempt may go on."""

    HELD = "held"
    WITHDRAWN = "withdrawn"
    LOST = "lost"
    """Another process has the delivery."""


class Repository:
    """Reads and writes of running attempts. All methods raise what the database raises."""

    def __init__(self, database: Database, lease: timedelta) -> None:
        """`lease` is what each write of outcomes also renews."""
        self._database = database
        self._lease = lease

    async def waiting(self, delivery: UUID, skip: Collection[str], limit: int = PAGE) -> list[Instance]:
        """Instances to send: those that were sent in vain before come last, and `skip` not at all."""
        statement = (
            select(instances)
            .where(instances.c.delivery == delivery, instances.c.state == "waiting")
            .order_by(instances.c.attempts, instances.c.part, instances.c.sop_instance_uid)
            .limit(limit)
        )
        if skip:
            statement = statement.where(instances.c.sop_instance_uid.not_in(skip))
        async with self._database.unit() as unit:
            rows = await unit.connection.execute(statement)
        return [
            Instance(
                row.sop_instance_uid,
                row.sop_class_uid,
                row.transfer_syntax,
                row.object_key,
                row.size,
                row.digest,
                row.attempts,
            )
            for row in rows
        ]

    async def waiting_contexts(self, delivery: UUID) -> list[tuple[str, str]]:
        """SOP classes and transfer syntaxes of what waits."""
        statement = (
            select(instances.c.sop_class_uid, instances.c.transfer_syntax)
            .where(instances.c.delivery == delivery, instances.c.state == "waiting")
            .distinct()
            .order_by(instances.c.sop_class_uid, instances.c.transfer_syntax)
        )
        async with self._database.unit() as unit:
            rows = await unit.connection.execute(statement)
        return [(row.sop_class_uid, row.transfer_syntax) for row in rows]

    async def expects_more(self, delivery: UUID) -> bool:
        """Whether further parts of the manifest may come."""
        async with self._database.unit() as unit:
            found = await tally(unit, delivery)
        return found is not None and not found.whole

    async def note_destination(self, job: Job, ae_title: str) -> None:
        """Remember where this attempt goes."""
        async with self._database.unit() as unit:
            await unit.connection.execute(update(deliveries).where(held_by(job)).values(ae_title=ae_title))

    async def record(self, job: Job, outcomes: Sequence[Outcome]) -> Standing:
        """Write outcomes with the event that tells of them, renew the lease, and say how it stands.

        What a destination has confirmed is written even when the lease is lost: it is a fact.
        """
        async with self._database.unit() as unit:
            held = (
                await unit.connection.execute(
                    update(deliveries)
                    .where(held_by(job))
                    .values(lease_until=func.now() + self._lease)
                    .returning(_STOPPED)
                )
            ).first()
            if outcomes:
                await _write_outcomes(unit, job, outcomes)
        if held is None:
            return Standing.LOST
        return Standing.WITHDRAWN if held.stopped else Standing.HELD


async def _write_outcomes(unit: UnitOfWork, job: Job, outcomes: Sequence[Outcome]) -> None:
    retried = [outcome.answer.verdict is Verdict.RETRY for outcome in outcomes]
    rows = await unit.connection.execute(
        _RECORD,
        {
            "delivery": job.id,
            "uids": [outcome.instance.sop_instance_uid for outcome in outcomes],
            "digests": [outcome.instance.digest for outcome in outcomes],
            "states": [
                "waiting" if again else str(outcome.answer.verdict)
                for outcome, again in zip(outcomes, retried, strict=True)
            ],
            "statuses": [outcome.answer.status for outcome in outcomes],
            "reasons": [outcome.answer.reason for outcome in outcomes],
            "ats": [outcome.at for outcome in outcomes],
            "again": [int(again) for again in retried],
        },
    )
    changed = {row.sop_instance_uid for row in rows if row.state != "waiting"}
    told = [outcome for outcome in outcomes if outcome.instance.sop_instance_uid in changed]
    if told:
        first = told[0].instance.sop_instance_uid
        cause = ids.derived("outcomes", str(job.attempt_id), first, told[0].at.isoformat())
        unit.publish(facts.progressed(job, told, cause))


async def tally(unit: UnitOfWork, delivery: UUID) -> Tally | None:
    """A delivery's instances by state and its manifest; None where there is no such delivery."""
    found = (
        await unit.connection.execute(
            select(
                deliveries.c.parts,
                deliveries.c.revision,
                deliveries.c.receipt_revision,
                deliveries.c.receipt_due,
            ).where(deliveries.c.id == delivery)
        )
    ).first()
    if found is None:
        return None
    rows = await unit.connection.execute(
        select(instances.c.state, func.count().label("number"))
        .where(instances.c.delivery == delivery)
        .group_by(instances.c.state)
    )
    by_state: dict[str, int] = {row.state: row.number for row in rows}
    come = await unit.connection.scalar(
        select(func.count()).where(and_(parts.c.delivery == delivery, parts.c.part <= (found.parts or 0)))
    )
    return Tally(
        waiting=by_state.get("waiting", 0),
        confirmed=by_state.get("confirmed", 0),
        failed=by_state.get("failed", 0),
        parts_come=come or 0,
        parts=found.parts,
        revision=found.revision,
        receipt_revision=found.receipt_revision,
        receipt_due=found.receipt_due,
    )
