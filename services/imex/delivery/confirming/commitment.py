"""Storage commitment (PS3.4 annex J): who was asked for what, and what came back, over restarts.

The report may come on the association of the question or on one that the destination opens, to any process
of delivery: so questions and reports meet in the database.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import Row, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import Database, UnitOfWork
from imex.db.tables.delivery import commitments, deliveries
from imex.delivery.confirming.asking import CannotAsk
from imex.delivery.confirming.decide import HandedOver
from imex.delivery.confirming.dimse import Nodes
from imex.delivery.jobs import Job
from imex.dicom.commitment import FailureReason, Reference, Report
from imex.dimse.statuses import words
from imex.directory.model import Endpoint

_MOST_REFERENCES: Final = 1000
_FORGOTTEN: Final = timedelta(days=30)


@dataclass(slots=True)
class Told:
    """What is known of commitments, by the SOP Instance UID under which an instance was sent."""

    committed: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    """Of these nothing was said."""
    waits_s: float = 0.0
    """For so long a report may still come."""
    trouble: str = ""
    """Why there is none, in words."""
    spent: list[str] = field(default_factory=list)
    """Transactions of which nothing more is to be learnt."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait for a report: on the association of the question, and at all."""

    same_association_s: float = 5.0
    report_s: float = 600.0


class Commitments:
    """Asks for commitments and knows what came of it. All methods raise what the database raises."""

    def __init__(
        self,
        database: Database,
        nodes: Nodes,
        patience: Patience | None = None,
        *,
        heard: Callable[[], None] = lambda: None,
        listens: bool = True,
    ) -> None:
        """`heard` is called when a report came for a delivery that waits for it.

        One that does not listen (`listens`) waits for reports on the association of the question only.
        """
        self._database = database
        self._nodes = nodes
        self._patience = patience or Patience()
        self._heard = heard
        self._listens = listens

    async def told(self, job: Job, endpoint: Endpoint, handed_over: Sequence[HandedOver]) -> Told:
        """What the destination says of what it was handed; it is asked for what it was not asked for yet.

        A question is about the copy that was there when it was asked: it answers for no other one.
        """
        wanted = {one.sent_uid: one.digest for one in handed_over}
        rows = await self._rows(job)
        expired = any(row.answered_at is None and row.until <= datetime.now(UTC) for row in rows)
        asked = {uid for row in rows for uid in _of_same_copies(row, wanted)}
        trouble = ""
        if new := [one for one in handed_over if one.sent_uid not in asked]:
            try:
                for start in range(0, len(new), _MOST_REFERENCES):
                    await self._ask(job, endpoint, new[start : start + _MOST_REFERENCES])
            except CannotAsk as error:
                trouble = str(error)
            rows = await self._rows(job)
        elif expired:
            trouble = f"no storage commitment was reported within {self._patience.report_s:g} s"
        return _told(rows, wanted, trouble)

    async def take(self, report: Report) -> bool:
        """Write down what was reported, and have its delivery go on; false where nobody asked for it."""
        async with self._database.unit() as unit:
            delivery = await unit.connection.scalar(
                select(commitments.c.delivery).where(commitments.c.transaction_uid == report.transaction_uid)
            )
            if delivery is None:
                return False
            # its row first: whoever settles it meanwhile sees the report, or is seen to have settled it
            await unit.connection.execute(
                select(deliveries.c.id).where(deliveries.c.id == delivery).with_for_update()
            )
            await unit.connection.execute(
                update(commitments)
                .where(
                    commitments.c.transaction_uid == report.transaction_uid,
                    commitments.c.answered_at.is_(None),
                )
                .values(
                    answered_at=func.now(),
                    committed=list(report.committed),
                    refused={uid: _reason(code) for uid, code in report.refused.items()},
                )
            )
            await unit.connection.execute(
                update(deliveries)
                .where(deliveries.c.id == delivery, deliveries.c.state == "waiting")
                .values(next_attempt_at=func.now())
            )
        self._heard()
        return True

    async def forget(self, transactions: Sequence[str]) -> None:
        """They are used up, and so is what is too old for anybody."""
        async with self._database.unit() as unit:
            await unit.connection.execute(
                delete(commitments).where(
                    commitments.c.transaction_uid.in_(transactions)
                    | (commitments.c.until < func.now() - _FORGOTTEN)
                )
            )

    async def _ask(self, job: Job, endpoint: Endpoint, handed_over: Sequence[HandedOver]) -> None:
        """Written down before it is asked: the report may be quicker than the answer."""
        transaction = f"2.25.{uuid4().int}"
        async with self._database.unit() as unit:
            await unit.connection.execute(
                insert(commitments).values(
                    transaction_uid=transaction,
                    delivery=job.id,
                    recipient=job.recipient,
                    endpoint=job.endpoint,
                    uids=[one.sent_uid for one in handed_over],
                    digests=[one.digest for one in handed_over],
                    until=func.now() + timedelta(seconds=self._patience.report_s),
                )
            )
        try:
            references = [Reference(one.sop_class_uid, one.sent_uid) for one in handed_over]
            report = await self._nodes.commit(
                endpoint, transaction, references, self._patience.same_association_s
            )
        except CannotAsk:
            await self.forget([transaction])
            raise
        if report is not None:
            await self.take(report)
        elif not self._listens:
            await self.forget([transaction])
            raise CannotAsk(
                "the storage commitment was not reported on the association of the request, and "
                "IMEX_DELIVERY_COMMITMENT_PORT is not set"
            )

    async def _rows(self, job: Job) -> Sequence[Row[Any]]:
        async with self._database.look() as connection:
            rows = await connection.execute(
                select(commitments).where(
                    commitments.c.delivery == job.id,
                    commitments.c.recipient == job.recipient,
                    commitments.c.endpoint == job.endpoint,
                )
            )
            return rows.all()


async def is_answered(unit: UnitOfWork, job: Job) -> bool:
    """Whether a report came that nobody has looked at; with the delivery's row locked, for certain.

    What an endpoint reports that the delivery has left meanwhile is nothing to look at.
    """
    answered = exists().where(
        commitments.c.delivery == job.id,
        commitments.c.recipient == job.recipient,
        commitments.c.endpoint == job.endpoint,
        commitments.c.answered_at.is_not(None),
    )
    return bool(await unit.connection.scalar(select(answered)))


def _of_same_copies(row: Row[Any], wanted: Mapping[str, str]) -> set[str]:
    """What a question asks of the wanted ones (SOP Instance UID to digest), as they were handed over last."""
    if row.digests is None:
        return set()
    return {uid for uid, digest in zip(row.uids, row.digests, strict=True) if wanted.get(uid) == digest}


def _told(rows: Sequence[Row[Any]], wanted: Mapping[str, str], trouble: str) -> Told:
    told = Told(silent=set(wanted), trouble=trouble)
    now = datetime.now(UTC)
    for row in rows:
        uids = _of_same_copies(row, wanted)
        if row.answered_at is not None:
            committed = set(row.committed or ()) & uids
            refused = {uid: why for uid, why in (row.refused or {}).items() if uid in uids}
            # who is in neither list was not committed
            left = dict.fromkeys(uids - committed - refused.keys(), "not named in the report")
            told.committed |= committed
            told.refused |= refused | left
            told.silent -= uids
            told.spent.append(row.transaction_uid)
        elif row.until > now:
            if uids:
                told.waits_s = max(told.waits_s, (row.until - now).total_seconds())
        else:
            told.spent.append(row.transaction_uid)
    told.refused = {uid: why for uid, why in told.refused.items() if uid not in told.committed}
    if trouble:  # whoever cannot be asked for the rest is queried for all
        told.waits_s = 0.0
    return told


def _reason(code: int) -> str:
    """A Failure Reason (0008,1197) in words."""
    try:
        return f"{code:04X} {FailureReason(code).words}"
    except ValueError:
        return words(code)
