"""Writing the facts of a batch, one statement for each kind, so that nothing counts twice."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

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
    came = [message for message in messages if isinstance(message.event, InstanceEvent)]
    seen = {_association(message): message.timestamp for message in reversed(came)}
    # what a person released was heard of when it was held
    heard = Counter(_association(message) for message in came if not _released(message))
    new_held = await repository.add_held(
        [
            {
                **{name: getattr(data, name) for name in _HELD},
                "state": "waiting",
                "disputes": data.disputes is not None,
            }
            for data in held
        ]
    )
    released = [event for event in validated if event.data.quarantine is not None]
    new_associations = await repository.hear_of_associations(
        [
            {
                **dict(zip(("source", "study_uid", "association"), key, strict=True)),
                "seen_at": at,
                "heard": heard[key],
            }
            for key, at in sorted(seen.items())
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
    await repository.dispute(
        [
            (data.source, data.sop_instance_uid)
            for data in held
            if data.disputes and data.quarantine in stored.held
        ]
    )
    await repository.undispute(stored.discarded | stored.released)
    taken_back: Counter[UUID] = Counter()
    replaced: set[UUID] = set()
    for event in validated:
        if event.data.replaces is not None:
            taken_back.update(await repository.replace_instance(event.id, event.data))
            replaced.add(event.id)
    changed = {(data.source, data.study_uid) for data in held if data.disputes}
    changed |= {(event.data.source, event.data.study_uid) for event in discarded}
    changed |= {(event.data.source, event.data.study_uid) for event in released}
    # what takes the place of what was recalled may leave again
    changed |= {(e.data.source, e.data.study_uid) for e in validated if e.id in replaced}
    stored = replace(
        stored,
        replaced=frozenset(replaced),
        taken_back=dict(taken_back),
        disputed=await repository.disputed(sorted(changed)),
    )
    await repository.add_repeats(duplicated)
    await repository.end_associations(
        [
            {
                **{name: getattr(event.data, name) for name in ("source", "study_uid", "association")},
                "seen_at": event.time,
                "ended_at": event.time,
                "received": event.data.received,
            }
            for event in sorted(ended, key=lambda event: str(event.data.association))
        ]
    )
    return stored


def _association(message: Message) -> tuple[str, str, UUID]:
    data = message.event.data
    return data.source, data.study_uid, data.association


def _released(message: Message) -> bool:
    return isinstance(message.event, InstanceValidated) and message.event.data.released


_HELD = (
    "quarantine", "source", "study_uid", "sop_instance_uid", "reason", "modality", "sop_class_uid",
    "body_part", "received_at",
)  # fmt: skip


def _last(events: Sequence[Any]) -> datetime:
    return max((event.time for event in events), default=datetime.min.replace(tzinfo=UTC))
