"""Writing the facts of a batch, one statement for each kind, so that nothing counts twice."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from imex.events.validations import (
    AssociationValidated,
    InstanceDiscarded,
    InstanceDuplicated,
    InstanceQuarantined,
    InstanceValidated,
)
from imex.routing.news import InstanceEvent, Stored
from imex.routing.repository import Repository
from imex.runtime import Message


async def store_facts(repository: Repository, messages: Sequence[Message]) -> Stored:
    """Write the facts of a batch, one statement for each kind, and say which were new."""
    events = [message.event for message in messages]
    validated = [event for event in events if isinstance(event, InstanceValidated)]
    held = [event.data for event in events if isinstance(event, InstanceQuarantined)]
    discarded = [event for event in events if isinstance(event, InstanceDiscarded)]
    duplicated = {event.id: event.data for event in events if isinstance(event, InstanceDuplicated)}
    ended = [event for event in events if isinstance(event, AssociationValidated)]
    seen = {
        (m.event.data.source, m.event.data.study_uid, m.event.data.association): m.timestamp
        for m in reversed(messages)
        if isinstance(m.event, InstanceEvent)
    }
    new_held = await repository.add_held(
        [{**{name: getattr(data, name) for name in _HELD}, "state": "waiting"} for data in held]
    )
    released = [event for event in validated if event.data.quarantine is not None]
    new_associations = await repository.add_associations(
        [
            {"source": source, "study_uid": study, "association": association, "seen_at": at}
            for (source, study, association), at in sorted(seen.items())
        ]
    )
    stored = Stored(
        instances=frozenset(await repository.add_instances({event.id: event.data for event in validated})),
        held=frozenset(new_held),
        released=frozenset(
            await repository.decide_held(
                [event.data.quarantine for event in released if event.data.quarantine],
                "released",
                _last(released),
            )
        ),
        discarded=frozenset(
            await repository.decide_held(
                [event.data.quarantine for event in discarded], "discarded", _last(discarded)
            )
        ),
        associations=frozenset(new_associations),
    )
    await repository.add_repeats(duplicated)
    await repository.end_associations(
        [
            {
                **{name: getattr(event.data, name) for name in ("source", "study_uid", "association")},
                "seen_at": event.time,
                "ended_at": event.time,
            }
            for event in sorted(ended, key=lambda event: str(event.data.association))
        ]
    )
    return stored


_HELD = (
    "quarantine", "source", "study_uid", "sop_instance_uid", "reason", "modality", "sop_class_uid",
    "body_part", "received_at",
)  # fmt: skip


def _last(events: Sequence[Any]) -> datetime:
    return max((event.time for event in events), default=datetime.min.replace(tzinfo=UTC))
