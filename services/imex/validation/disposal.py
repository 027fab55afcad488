"""Payloads that nobody needs any more: given up in one transaction, deleted from the store after it."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, func, select, text, update

from imex.db import Database, UnitOfWork
from imex.db.tables.validation import disposals
from imex.events.audit import Actor, AuditRecorded, AuditRecordedData
from imex.events.ids import caused_id, root_traceparent
from imex.events.retention import RetentionEnded
from imex.events.validations import StudyDisposed, StudyDisposedData, StudyKept, StudyKeptData
from imex.runtime import Message
from imex.storage import ObjectStore, StoreError, delete_all
from imex.validation.giving_up import forget, give_up

BATCH: Final = 200
AGAIN: Final = timedelta(minutes=10)

_NEWER = text(
    "SELECT EXISTS (SELECT 1 FROM validation.judgements WHERE source = :source AND study_uid = :study_uid"
    " AND received_at > :through) AS more, EXISTS (SELECT 1 FROM validation.quarantine"
    " WHERE source = :source AND study_uid = :study_uid AND state = 'waiting') AS waiting"
)
_FORGET_STUDY = text("DELETE FROM validation.studies WHERE source = :source AND study_uid = :study_uid")


class RetentionHandler:
    """Handles the topic `retention`."""

    async def __call__(self, messages: Sequence[Message], unit: UnitOfWork) -> None:
        """One batch in one transaction."""
        for message in messages:
            if isinstance(message.event, RetentionEnded):
                await _give_up(unit, message.event)


async def _give_up(unit: UnitOfWork, event: RetentionEnded) -> None:
    data = event.data
    where = {"source": data.source, "study_uid": data.study_uid}
    study = {"sources": [data.source], "uids": [data.study_uid]}
    traceparent = root_traceparent(data.source, data.study_uid)
    async with unit.connection.begin_nested() as attempt:
        # first: who relies on a copy holds it, so that what it judged is seen by the look after this
        await forget(unit.connection, study)
        newer = (await unit.connection.execute(_NEWER, {**where, "through": data.received_through})).one()
        if newer.more or newer.waiting:
            await attempt.rollback()
    if newer.more or newer.waiting:
        reason = "more of it has come in" if newer.more else "something of it waits for a person"
        unit.publish(
            StudyKept.of(
                id=caused_id(event.id, StudyKept.type_name(), data.study_uid),
                subject=data.study_uid,
                traceparent=traceparent,
                data=StudyKeptData(**where, lane=data.lane, reason=reason),
            )
        )
        return
    given = await give_up(unit.connection, study)
    await unit.connection.execute(_FORGET_STUDY, where)
    unit.publish(
        StudyDisposed.of(
            id=caused_id(event.id, StudyDisposed.type_name(), data.study_uid),
            subject=data.study_uid,
            traceparent=traceparent,
            data=StudyDisposedData(
                **where, lane=data.lane, received_through=data.received_through, instances=given
            ),
        )
    )
    unit.publish(
        AuditRecorded.of(
            id=caused_id(event.id, AuditRecorded.type_name(), "payloads_deleted"),
            subject=data.study_uid,
            traceparent=traceparent,
            data=AuditRecordedData(
                action="payloads_deleted",
                outcome="success",
                actor=Actor(kind="service", id="validation"),
                **where,
                reason="the time for which they are kept is over",
                counts={"instances": given},
            ),
        )
    )


Deleted = Callable[[int], None]


class Disposer:
    """Deletes from the store what was given up. It may be killed at any point."""

    def __init__(self, database: Database, payloads: ObjectStore, deleted: Deleted) -> None:
        """`deleted` counts."""
        self._database = database
        self._payloads = payloads
        self._deleted = deleted

    async def turn(self) -> bool:
        """Delete some; true where more may be.

        What the store does not delete is tried again after a while, and keeps nothing else waiting.

        Raises:
            StoreError: none of them could be deleted; the next turn is for others.
        """
        away: StoreError | None = None
        d, at = disposals.c.object_key, disposals.c.at
        async with self._database.unit() as unit:
            rows = await unit.connection.execute(
                select(d)
                .where(at <= func.now())
                .order_by(at, d)
                .limit(BATCH)
                .with_for_update(skip_locked=True)
            )
            keys = list(rows.scalars())
            try:
                gone = await delete_all(self._payloads, keys)
            except StoreError as error:
                gone, away = set(), error
            await unit.connection.execute(delete(disposals).where(d.in_(gone)))
            if left := set(keys) - gone:
                await unit.connection.execute(
                    update(disposals).where(d.in_(left)).values(at=func.now() + AGAIN)
                )
        self._deleted(len(gone))
        if away is not None:
            raise away
        return len(keys) == BATCH
