"""What an attempt reads, and the outcomes it writes as they happen."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from typing import Final
from uuid import UUID

from sqlalchemy import ScalarSelect, and_, func, select, text

from imex.db import Database, UnitOfWork
from imex.db.tables.delivery import deliveries, instances, parts
from imex.delivery import facts
from imex.delivery.changing.ledger import note_given
from imex.delivery.decide import Answer, Tally, Verdict
from imex.delivery.destinations import reached
from imex.delivery.inbox import note_placed
from imex.delivery.inbox_orphans import ROW_WITHIN
from imex.delivery.jobs import Instance, Job, Outcome
from imex.events import ids

PAGE = 500
TOO_LATE: Final = "put into the inbox too long ago to be recorded there"

# What a destination has confirmed is written even when the lease is lost: it is a fact. Of what else an
# attempt says that has lost it, what was handed over counts while the delivery goes to the same endpoint.
_RECORD = text(
    """
    WITH changed AS (
        UPDATE delivery.instances AS i
           SET state = v.state, status = v.status, reason = v.reason, at = v.at,
               attempts = i.attempts + v.again,
               delivered_digest = v.delivered_digest, changes = CAST(v.changes AS jsonb),
               confirmation = v.confirmation, sent_study_uid = v.study, sent_uid = v.sent,
               sent_to = CASE WHEN v.state = 'confirmed' AND d.endpoint <> :endpoint
                              THEN jsonb_build_object('endpoint', CAST(:endpoint AS text),
                                                      'ae_title', CAST(:ae_title AS text))
                              ELSE i.sent_to END
          FROM unnest(CAST(:uids AS text[]), CAST(:digests AS text[]), CAST(:states AS text[]),
                      CAST(:statuses AS text[]), CAST(:reasons AS text[]), CAST(:ats AS timestamptz[]),
                      CAST(:again AS int[]), CAST(:delivered AS text[]), CAST(:changes AS text[]),
                      CAST(:confirmations AS text[]), CAST(:studies AS text[]), CAST(:sent AS text[]))
               AS v(uid, digest, state, status, reason, at, again, delivered_digest, changes, confirmation,
                    study, sent),
               delivery.deliveries AS d
         WHERE d.id = :delivery
           AND (v.state = 'confirmed' OR (d.leased_by = :lease AND d.started_at = :started)
                OR (v.state = 'sent' AND d.endpoint = :endpoint))
           AND i.delivery = :delivery AND i.sop_instance_uid = v.uid AND i.digest = v.digest
           AND (i.state = 'waiting' OR i.state = 'disputed' AND v.state IN ('confirmed', 'sent'))
        RETURNING i.sop_instance_uid, i.state
    )
    SELECT (SELECT CASE WHEN d.withdrawn OR d.cancelled THEN 'withdrawn'
                        WHEN d.paused IS NOT NULL THEN 'paused'
                        WHEN d.reroute_to IS NOT NULL THEN 'rerouted' ELSE 'held' END
              FROM delivery.deliveries AS d
             WHERE d.id = :delivery AND d.leased_by = :lease AND d.started_at = :started) AS standing,
           ARRAY(SELECT sop_instance_uid FROM changed WHERE state NOT IN ('waiting', 'sent')) AS settled
    """
)


_STATES = {
    Verdict.CONFIRMED: "confirmed",
    Verdict.FAILED: "failed",
    Verdict.RETRY: "waiting",
    Verdict.SENT: "sent",
    Verdict.UNSURE: "sent",
}
_ANSWERED = frozenset({Verdict.CONFIRMED, Verdict.SENT})


class Standing(Enum):
    """Whether an attempt may go on."""

    HELD = "held"
    WITHDRAWN = "withdrawn"
    PAUSED = "paused"
    REROUTED = "rerouted"
    LOST = "lost"
    """Another process has the delivery."""


class Repository:
    """Reads and writes of running attempts. All methods raise what the database raises."""

    def __init__(self, database: Database) -> None:
        """Over delivery's own schema."""
        self._database = database

    async def waiting(self, delivery: UUID, limit: int = PAGE) -> list[Instance]:
        """Instances to send: those that were sent in vain before come last."""
        statement = (
            select(instances)
            .where(instances.c.delivery == delivery, instances.c.state == "waiting")
            .order_by(instances.c.attempts, instances.c.part, instances.c.sop_instance_uid)
            .limit(limit)
        )
        async with self._database.look() as connection:
            rows = await connection.execute(statement)
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
        async with self._database.look() as connection:
            rows = await connection.execute(statement)
        return [(row.sop_class_uid, row.transfer_syntax) for row in rows]

    async def expects_more(self, delivery: UUID) -> bool:
        """Whether further parts of the manifest may come."""
        come = select(func.count()).where(parts.c.delivery == delivery, parts.c.part <= deliveries.c.parts)
        statement = select(deliveries.c.parts, come.scalar_subquery().label("come")).where(
            deliveries.c.id == delivery
        )
        async with self._database.look() as connection:
            found = (await connection.execute(statement)).first()
        return found is not None and (found.parts is None or found.come < found.parts)

    async def record(self, job: Job, outcomes: Sequence[Outcome]) -> Standing:
        """Write outcomes with the event that tells of them, and say how the delivery stands."""
        async with self._database.unit() as unit:
            standing = await _write_outcomes(unit, job, outcomes)
            if job.probe and any(outcome.answer.verdict in _ANSWERED for outcome in outcomes):
                await reached(unit, *job.destination)
        return standing


def in_time(outcomes: Sequence[Outcome], now: datetime) -> Sequence[Outcome]:
    """The outcomes, where what was written for an inbox too long ago is to be written once more. Pure.

    It may have been taken for an orphan meanwhile (`imex.delivery.inbox_orphans`).
    """
    return [
        replace(one, answer=Answer(Verdict.RETRY, "", TOO_LATE), given=None) if _is_late(one, now) else one
        for one in outcomes
    ]


def _is_late(one: Outcome, now: datetime) -> bool:
    placed = one.answer.placed
    return placed is not None and placed.own and now - one.at > ROW_WITHIN


async def _write_outcomes(unit: UnitOfWork, job: Job, outcomes: Sequence[Outcome]) -> Standing:
    outcomes = in_time(outcomes, datetime.now(UTC))
    retried = [outcome.answer.verdict is Verdict.RETRY for outcome in outcomes]
    written = await unit.connection.execute(
        _RECORD,
        {
            "delivery": job.id,
            "lease": job.lease,
            "started": job.started_at,
            "endpoint": job.endpoint,
            "ae_title": job.ae_title,
            "uids": [outcome.instance.sop_instance_uid for outcome in outcomes],
            "digests": [outcome.instance.digest for outcome in outcomes],
            "states": [_STATES[outcome.answer.verdict] for outcome in outcomes],
            "statuses": [outcome.answer.status for outcome in outcomes],
            "reasons": [outcome.answer.reason for outcome in outcomes],
            "ats": [outcome.at for outcome in outcomes],
            "again": [int(again) for again in retried],
            "delivered": [outcome.answer.delivered_digest or None for outcome in outcomes],
            "changes": [
                json.dumps(outcome.answer.changes) if outcome.answer.changes else None for outcome in outcomes
            ],
            "confirmations": [
                "answer" if outcome.answer.verdict in _ANSWERED else None for outcome in outcomes
            ],
            "studies": [(outcome.answer.sent_as or ("",))[0] or None for outcome in outcomes],
            "sent": [(outcome.answer.sent_as or ("", ""))[1] or None for outcome in outcomes],
        },
    )
    row = written.one()
    if given := [outcome.given for outcome in outcomes if outcome.given is not None]:
        await note_given(unit, given)
    settled = set(row.settled)
    told = [outcome for outcome in outcomes if outcome.instance.sop_instance_uid in settled]
    await note_placed(unit, job, told)
    if told:
        first = told[0].instance.sop_instance_uid
        cause = ids.derived("outcomes", str(job.attempt_id), first, told[0].at.isoformat())
        unit.publish(facts.progressed(job, told, cause))
    return Standing(row.standing) if row.standing else Standing.LOST


async def tally(unit: UnitOfWork, delivery: UUID) -> Tally | None:
    """A delivery's instances by state and its manifest; None where there is no such delivery."""

    def count(state: str) -> ScalarSelect[int]:
        counted = select(func.count()).where(instances.c.delivery == delivery, instances.c.state == state)
        return counted.scalar_subquery()

    come = select(func.count()).where(
        and_(parts.c.delivery == delivery, parts.c.part <= func.coalesce(deliveries.c.parts, 0))
    )
    found = (
        await unit.connection.execute(
            select(
                deliveries.c.parts,
                deliveries.c.revision,
                deliveries.c.receipt_revision,
                deliveries.c.receipt_due,
                count("waiting").label("waiting"),
                count("sent").label("sent"),
                count("confirmed").label("confirmed"),
                count("failed").label("failed"),
                come.scalar_subquery().label("come"),
            ).where(deliveries.c.id == delivery)
        )
    ).first()
    if found is None:
        return None
    return Tally(
        waiting=found.waiting,
        confirmed=found.confirmed,
        failed=found.failed,
        parts_come=found.come,
        parts=found.parts,
        revision=found.revision,
        receipt_revision=found.receipt_revision,
        receipt_due=found.receipt_due,
        sent=found.sent,
    )
