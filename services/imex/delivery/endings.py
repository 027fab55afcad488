"""How attempts and deliveries end: back-off, receipt, expiry, withdrawal; each in one transaction."""

import asyncio
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import Database, UnitOfWork
from imex.db.tables.delivery import attempts, deliveries, instances, receipts, signing_keys, withheld
from imex.db.tables.delivery import kept as kept_table
from imex.delivery import decide, facts
from imex.delivery.confirming.commitment import is_answered
from imex.delivery.controls import move, try_failed_again
from imex.delivery.decide import Tally
from imex.delivery.destinations import asked_in_vain, got_nothing_through, reached, wake
from imex.delivery.jobs import Job, held_by
from imex.delivery.receipt import Destination, Line, SignedReceipt, Signer, document_of
from imex.delivery.repository import tally


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt went. `reason` is empty when nothing went wrong."""

    reason: str = ""
    confirmed: int = 0
    sent: int = 0
    """Taken by a destination that is asked afterwards."""
    in_doubt: int = 0
    """Sent, and the answer is not known."""
    only_in_doubt: bool = False
    """`reason` tells of these, and of nothing else."""
    failed: int = 0
    sent_bytes: int = 0
    yielded: bool = False
    """It stopped because it was asked to, and goes on as soon as it may."""
    changes: tuple[str, ...] = ()
    """What was changed on the way out, in words."""
    again_after: float = 0.0
    """Seconds for which nothing is to be tried: the destination says so, or its word is waited for."""
    waits_for: str = ""
    """For what, in words, where nothing went wrong."""

    @property
    def plain(self) -> bool:
        """Something was sent, and what became of it is known."""
        return bool(self.confirmed or self.failed) and not self.sent and not self.in_doubt

    away: bool = False
    """Nothing got through, and it was the destination's trouble: not reached, rejecting, or full."""
    place: str = ""
    """Where it was tried, so that another address is tried at once."""


_RELEASING = timedelta(seconds=2)
"""An association may be a little longer open than it is kept."""

State = Literal["waiting", "idle", "ended", "lost"]


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the delivery: its state, its outcome when it has ended, and when it is tried again."""

    state: State
    outcome: str = ""
    next_attempt_at: datetime | None = None


class Endings:
    """Writes the ends. All methods raise what the database raises, and then nothing was written."""

    def __init__(self, database: Database, signer: Signer, keep_s: float = 0.0) -> None:
        """Receipts are signed with `signer`. Associations are kept for `keep_s` seconds after a delivery."""
        self._keep = timedelta(seconds=keep_s) + _RELEASING
        self._database = database
        self._signer = signer
        self._key_is_published = False

    async def settle(self, job: Job, result: Result | None, kept: int = 0) -> Settled:
        """End the attempt, when there was one, and decide what the delivery does next.

        `kept` is how many associations with its destination this process keeps open.
        """
        async with self._database.unit() as unit:
            row = (
                await unit.connection.execute(select(deliveries).where(held_by(job)).with_for_update())
            ).first()
            if row is None:
                return Settled("lost")
            if _goes_elsewhere(row):
                # what its endpoint refused is for the next one to say
                await try_failed_again(unit, job.id)
            counts = await tally(unit, job.id)
            if counts is None:
                return Settled("lost")
            # a person may have had it tried again meanwhile
            job = replace(job, expires_at=row.expires_at)
            settled, values = await self._decide(unit, job, row, counts, result)
            if result is not None:
                await _note_destination(unit, job, result)
            await unit.connection.execute(
                update(deliveries)
                .where(deliveries.c.id == job.id)
                .values(
                    state=settled.state,
                    leased_by=None,
                    lease_until=None,
                    associations=0,
                    only_to_settle=False,
                    reroute_to=None,
                    **values,
                )
            )
            if row.reroute_to is not None and settled.state in {"waiting", "idle"}:
                await move(unit, await _as_it_is(unit, job), row.reroute_to)
            if kept:
                await _note_kept(unit, job, kept, self._keep)
        return settled

    async def _decide(
        self, unit: UnitOfWork, job: Job, row: Row[Any], counts: Tally, result: Result | None
    ) -> tuple[Settled, dict[str, Any]]:
        now = datetime.now(UTC)
        step = decide.next_step(counts)
        values: dict[str, Any] = {"next_attempt_at": None}
        ending: tuple[Literal["cancelled", "expired", "failed"], str] | None = None
        if row.withdrawn or row.cancelled:
            ending = ("cancelled", row.reason or "withdrawn")
        elif step == "send" and now >= job.expires_at:
            last = result.reason if result else row.reason
            ending = ("expired", f"not delivered in time; the last attempt: {last or 'none was made'}")
        elif step == "wait" and row.lost and not counts.whole:
            ending = ("failed", row.lost)
        if ending is None and step == "send":
            values = _try_again(job, result, now)
            values |= await _already_answered(unit, job, result, now)
        elif ending is None:
            values |= {"failures": 0, "failing_since": None, "reason": ""}
        if result is not None:
            await _end_attempt(unit, job, row.ae_title, result, now=now, again_at=values["next_attempt_at"])
            if not result.reason and job.failing.failures:
                await wake(unit, *job.destination)
        if ending is not None:
            end, reason = ending
            unit.publish(
                facts.ended(job, outcome=end, confirmed=counts.confirmed, reason=reason, cause=job.attempt_id)
            )
            return Settled("ended", end), values | {"outcome": end, "reason": reason}
        match step:
            case "send":
                return Settled("waiting", next_attempt_at=values["next_attempt_at"]), values
            case "complete":
                return await self._complete(unit, job, row, counts, values)
            case "wait" if counts.whole:  # a receipt of this revision is there already
                outcome = decide.final_outcome(counts)
                return Settled("ended", outcome), values | {"outcome": outcome}
            case "wait":
                return Settled("idle"), values

    async def _complete(
        self, unit: UnitOfWork, job: Job, row: Row[Any], counts: Tally, values: dict[str, Any]
    ) -> tuple[Settled, dict[str, Any]]:
        revision = counts.next_receipt
        destination = Destination(row.recipient, row.endpoint, row.ae_title)
        lines = await _lines(unit, job)
        # canonical form and signature of a large study take a while: not on the event loop
        receipt = await asyncio.to_thread(
            lambda: self._signer.sign(document_of(job.share, revision, destination, lines))
        )
        await self._publish_key(unit)
        await _store_receipt(unit, job, revision, receipt)
        reasons: dict[str, int] = {}
        for line in lines:
            if line.status == "failed":
                reasons[line.reason] = reasons.get(line.reason, 0) + 1
        reason = decide.summary(reasons.items(), counts.failed)
        unit.publish(
            facts.completed(
                job,
                revision=revision,
                confirmed=counts.confirmed,
                failed=counts.failed,
                receipt_digest=receipt.digest,
                reason=reason,
            )
        )
        outcome = decide.final_outcome(counts)
        return Settled("ended", outcome), values | {
            "outcome": outcome,
            "reason": reason,
            "receipt_revision": revision,
            "receipt_due": False,
        }

    async def _publish_key(self, unit: UnitOfWork) -> None:
        """Whoever has a receipt finds its key published."""
        if self._key_is_published:
            return
        row = {"kid": self._signer.kid, "jwk": self._signer.public_jwk}
        await unit.connection.execute(insert(signing_keys).values(row).on_conflict_do_nothing())
        unit.after_commit(self._published)

    def _published(self) -> None:
        self._key_is_published = True


def _try_again(job: Job, result: Result | None, now: datetime) -> dict[str, Any]:
    if result is None or result.yielded:
        return {"next_attempt_at": now}
    not_before = min(now + timedelta(seconds=result.again_after), max(job.expires_at, now))
    if not result.reason:  # more of the manifest came meanwhile, or the destination's word is waited for
        return {
            "next_attempt_at": not_before,
            "failures": 0,
            "failing_since": None,
            "reason": result.waits_for,
        }
    failing = decide.next_failing(job.failing, now=now, progressed=result.confirmed > 0)
    return {
        "failures": failing.failures,
        "failing_since": failing.since,
        "reason": result.reason,
        "next_attempt_at": max(
            not_before,
            decide.next_attempt_at(
                failing,
                now=now,
                expires_at=job.expires_at,
                draw=random.random(),  # noqa: S311
            ),
        ),
    }


async def _already_answered(
    unit: UnitOfWork, job: Job, result: Result | None, now: datetime
) -> dict[str, Any]:
    """What is waited for has come meanwhile."""
    if result is None or not result.waits_for or not await is_answered(unit, job):
        return {}
    return {"next_attempt_at": now}


async def _end_attempt(
    unit: UnitOfWork, job: Job, ae_title: str, result: Result, *, now: datetime, again_at: datetime | None
) -> None:
    await unit.connection.execute(
        insert(attempts)
        .values(
            id=job.attempt_id,
            delivery=job.id,
            number=job.attempt,
            started_at=job.started_at,
            ended_at=now,
            outcome="failed" if result.reason else "succeeded",
            reason=result.reason,
            confirmed=result.confirmed,
        )
        .on_conflict_do_nothing()
    )
    unit.publish(
        facts.attempted(
            job,
            reason=result.reason,
            ended_at=now,
            confirmed=result.confirmed,
            next_attempt_at=again_at,
        )
    )
    if result.confirmed or result.sent:
        unit.publish(
            facts.sent(
                job,
                ae_title=ae_title,
                confirmed=result.confirmed,
                taken=result.sent,
                failed=result.failed,
                reason=result.reason,
                ended_at=now,
                changes=result.changes,
            )
        )


async def _note_destination(unit: UnitOfWork, job: Job, result: Result) -> None:
    """What the attempt tells of the destination as a whole."""
    if result.away:
        now = datetime.now(UTC)
        await got_nothing_through(
            unit,
            job,
            reason=result.reason,
            place=result.place,
            now=now,
            draw=random.random(),  # noqa: S311
            not_before=now + timedelta(seconds=result.again_after),
        )
    elif result.confirmed or result.sent or result.failed:
        await reached(unit, *job.destination)
    elif job.probe and not result.yielded:
        await asked_in_vain(unit, job, now=datetime.now(UTC), draw=random.random())  # noqa: S311


def _goes_elsewhere(row: Row[Any]) -> bool:
    """Whether its attempt was to end so that another endpoint gets the rest."""
    ends = row.withdrawn or row.cancelled or datetime.now(UTC) >= row.expires_at
    return row.reroute_to is not None and not ends


async def _as_it_is(unit: UnitOfWork, job: Job) -> Row[Any]:
    return (await unit.connection.execute(select(deliveries).where(deliveries.c.id == job.id))).one()


async def _note_kept(unit: UnitOfWork, job: Job, number: int, keep: timedelta) -> None:
    new = insert(kept_table).values(
        recipient=job.recipient,
        endpoint=job.endpoint,
        holder=job.lease,
        number=number,
        until=func.now() + keep,
    )
    await unit.connection.execute(
        new.on_conflict_do_update(
            index_elements=list(kept_table.primary_key),
            set_={"number": new.excluded.number, "until": new.excluded.until},
        )
    )
    await unit.connection.execute(
        delete(kept_table).where(
            kept_table.c.recipient == job.recipient,
            kept_table.c.endpoint == job.endpoint,
            kept_table.c.until < func.now(),
        )
    )


async def _lines(unit: UnitOfWork, job: Job) -> list[Line]:
    # of what is in dispute, what is withheld speaks
    carried = await unit.connection.execute(
        select(instances).where(instances.c.delivery == job.id, instances.c.state != "disputed")
    )
    lines = [
        Line(
            row.sop_instance_uid,
            row.digest,
            row.state,
            row.reason,
            row.at,
            (row.confirmation or "answer") if row.state == "confirmed" else "",
            row.delivered_digest if row.state == "confirmed" else None,
            tuple(row.changes or ()),
            row.sent_to if row.state == "confirmed" else None,
        )
        for row in carried
    ]
    lacking = await unit.connection.execute(select(withheld).where(withheld.c.delivery == job.id))
    return lines + [Line(row.sop_instance_uid, None, row.status, row.reason, row.at) for row in lacking]


async def _store_receipt(unit: UnitOfWork, job: Job, revision: int, receipt: SignedReceipt) -> None:
    await unit.connection.execute(
        insert(receipts)
        .values(
            delivery=job.id,
            revision=revision,
            share=job.share,
            document=receipt.document,
            signature=receipt.signature,
            digest=receipt.digest,
        )
        .on_conflict_do_nothing()
    )
