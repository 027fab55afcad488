"""Appending batches to the chains, and joining the chains in checkpoints."""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from imex.audit.decide import Appended, append
from imex.audit.repository import Repository
from imex.audit_trail.chain import GENESIS, Head, checkpoint_hash
from imex.db import UnitOfWork
from imex.events.audit import AuditRecorded
from imex.observability.names import SpanName
from imex.observability.traces import Traces
from imex.runtime import Message

log = structlog.get_logger(__name__)


class AuditHandler:
    """Appends audit events to the chain of their partition.

    Each event has claimed its inbox row before it gets here, in the same transaction: a writer that lost its
    partition finds the claim taken and appends nothing. The locked head keeps writers in line.
    """

    def __init__(self, traces: Traces, counted: Callable[[str], None]) -> None:
        """`counted` is told the action of each record."""
        self._traces = traces
        self._counted = counted

    async def __call__(self, messages: Sequence[Message], unit: UnitOfWork) -> None:
        """One batch in one transaction."""
        by_partition: dict[int, list[Message]] = defaultdict(list)
        for message in messages:
            by_partition[message.partition].append(message)
        repository = Repository(unit.connection)
        # partitions in order: two writers that overlap during a rebalance wait, they do not dead-lock
        for partition in sorted(by_partition):
            await self._append(partition, by_partition[partition], repository)

    async def _append(self, partition: int, messages: Sequence[Message], repository: Repository) -> None:
        head = await repository.lock_chain(partition)
        rows: list[dict[str, Any]] = []
        beside: list[dict[str, Any]] = []
        for message in messages:
            if not isinstance(message.event, AuditRecorded):
                continue
            appended = append(message.event, head, os.urandom)
            self._trace(message)
            self._counted(message.event.data.action)
            rows.append(_record_row(message.event, appended))
            beside += _personal_rows(message.event, appended)
            head = Head(partition, appended.record.sequence, appended.record.hash)
        await repository.add(rows, beside)
        await repository.grow(head)

    def _trace(self, message: Message) -> None:
        """A record about a study shows in its trace."""
        data = message.event.data
        if data.source and data.study_uid:
            with self._traces.span(
                SpanName.AUDIT,
                data.source,
                data.study_uid,
                attributes={"imex.action": data.action},
                parent=message.traceparent,
            ):
                pass


async def write_checkpoint(unit: UnitOfWork) -> bool:
    """Join the chains as they are now; false when nothing has grown since the last time."""
    repository = Repository(unit.connection)
    heads = await repository.lock_all()
    last = await repository.last_checkpoint()
    if not heads or (last is not None and last.heads == [head.as_json() for head in heads]):
        return False
    sequence = last.sequence + 1 if last is not None else 1
    previous = last.hash if last is not None else GENESIS
    digest = checkpoint_hash(previous, sequence, heads)
    await repository.add_checkpoint(sequence, heads, previous, digest)
    # the log leaves the database's reach: whoever rewrites the tables cannot rewrite what was shipped
    log.info(
        "audit checkpoint",
        checkpoint=sequence,
        hash=digest.hex(),
        records=sum(head.length for head in heads),
    )
    return True


def _record_row(event: AuditRecorded, appended: Appended) -> dict[str, Any]:
    record = appended.record
    return {
        "partition": record.partition,
        "sequence": record.sequence,
        "event_id": event.id,
        "at": event.time,
        "action": event.data.action,
        "institutions": list(appended.institutions),
        "study_uid": event.data.study_uid,
        "share": event.data.share,
        "body": record.body,
        "previous": record.previous,
        "hash": record.hash,
    }


def _personal_rows(event: AuditRecorded, appended: Appended) -> list[dict[str, Any]]:
    return [
        {"event_id": event.id, "field": field, "salt": salt, "value": value}
        for field, (salt, value) in appended.personal.items()
    ]
