"""What was handed over and is not confirmed, in the database."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select, text

from imex.db import Database
from imex.db.tables.delivery import instances
from imex.delivery import facts
from imex.delivery.confirming.decide import Finding, HandedOver
from imex.delivery.decide import Verdict
from imex.delivery.jobs import Instance, Job, Outcome
from imex.events import ids

PAGE: Final = 1000
_STATES: Final = {Verdict.CONFIRMED: "confirmed", Verdict.FAILED: "failed", Verdict.RETRY: "waiting"}

# What a destination has confirmed is written even when the lease is lost, unless it goes to another one by
# now, which has to be asked for itself. All else is for whoever holds the delivery to say.
_WRITE = text(
    """
    WITH changed AS (
        UPDATE delivery.instances AS i
           SET state = CASE WHEN v.state = 'waiting' AND EXISTS (  -- in dispute meanwhile: not sent again
                                 SELECT FROM delivery.withheld AS w
                                  WHERE w.delivery = :delivery AND w.sop_instance_uid = v.uid
                                    AND w.disputes AND w.status = 'held')
                            THEN 'disputed' ELSE v.state END,
               reason = v.reason, at = v.at, confirmation = v.confirmation,
               lacked = i.lacked + v.lacked,
               attempts = i.attempts + CASE WHEN v.state = 'waiting' THEN 1 ELSE 0 END
          FROM unnest(CAST(:uids AS text[]), CAST(:digests AS text[]), CAST(:states AS text[]),
                      CAST(:reasons AS text[]), CAST(:ats AS timestamptz[]), CAST(:confirmations AS text[]),
                      CAST(:lacked AS int[]))
               AS v(uid, digest, state, reason, at, confirmation, lacked),
               delivery.deliveries AS d
         WHERE d.id = :delivery AND d.endpoint = :endpoint
           AND (v.state = 'confirmed' OR (d.leased_by = :lease AND d.started_at = :started))
           AND i.delivery = :delivery AND i.sop_instance_uid = v.uid AND i.digest = v.digest
           AND i.state = 'sent'
        RETURNING i.sop_instance_uid, i.state
    )
    SELECT EXISTS (SELECT FROM delivery.deliveries AS d
                    WHERE d.id = :delivery AND d.leased_by = :lease AND d.started_at = :started) AS held,
           ARRAY(SELECT sop_instance_uid FROM changed WHERE state IN ('confirmed', 'failed')) AS settled
    """
)


class Ledger:
    """Reads and writes of confirming. All methods raise what the database raises."""

    def __init__(self, database: Database) -> None:
        """Over delivery's own schema."""
        self._database = database

    async def handed_over(self, job: Job) -> list[HandedOver]:
        """All that is not confirmed."""
        statement = select(instances).where(instances.c.delivery == job.id, instances.c.state == "sent")
        async with self._database.look() as connection:
            rows = await connection.execute(statement.order_by(instances.c.sop_instance_uid))
        return [
            HandedOver(
                row.sop_instance_uid,
                row.digest,
                row.sop_class_uid,
                row.sent_study_uid or job.study_uid,
                row.sent_uid or row.sop_instance_uid,
                row.status or "",
                row.reason,
                row.at,
                row.confirmation == "answer",
                row.lacked,
            )
            for row in rows
        ]

    async def write(self, job: Job, findings: Sequence[Finding]) -> bool:
        """Write what became of some, with the event that tells of it; whether the lease still holds."""
        held = True
        for start in range(0, len(findings), PAGE):
            held = await self._write(job, findings[start : start + PAGE])
        return held

    async def _write(self, job: Job, findings: Sequence[Finding]) -> bool:
        at = datetime.now(UTC)
        async with self._database.unit() as unit:
            row = (
                await unit.connection.execute(
                    _WRITE,
                    {
                        "delivery": job.id,
                        "lease": job.lease,
                        "started": job.started_at,
                        "endpoint": job.endpoint,
                        "uids": [one.one.sop_instance_uid for one in findings],
                        "digests": [one.one.digest for one in findings],
                        "states": [_STATES[one.answer.verdict] for one in findings],
                        "reasons": [one.answer.reason for one in findings],
                        "ats": [at for _ in findings],
                        "confirmations": [one.by for one in findings],
                        "lacked": [int(one.lacked) for one in findings],
                    },
                )
            ).one()
            settled = set(row.settled)
            told = [
                Outcome(_instance(one.one), one.answer, at)
                for one in findings
                if one.one.sop_instance_uid in settled
            ]
            if told:
                first = told[0].instance.sop_instance_uid
                unit.publish(facts.progressed(job, told, _cause(job, first, at)))
        return bool(row.held)


def _cause(job: Job, first: str, at: datetime) -> UUID:
    return ids.derived("confirmed", str(job.attempt_id), first, at.isoformat())


def _instance(one: HandedOver) -> Instance:
    """As far as an event names it."""
    return Instance(one.sop_instance_uid, one.sop_class_uid, "", "", 0, one.digest, 0)
