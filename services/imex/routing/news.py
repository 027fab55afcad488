"""What a batch of judged instances says of one study. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from imex.events import Event, Identity, Sealed
from imex.events.validations import (
    AssociationValidated,
    InstanceDiscarded,
    InstanceDuplicated,
    InstanceQuarantined,
    InstanceValidated,
)
from imex.routing import studies
from imex.runtime import Message
from imex.sharing.model import Study
from imex.sharing.results import RESULT_CLASSES

OpenIdentity = Callable[[Sealed, str], Identity]
"""Opens the sealed field that belongs to an object key."""

InstanceEvent = InstanceValidated | InstanceQuarantined | InstanceDuplicated
"""Events that carry an instance's facts."""

JudgedEvent = InstanceEvent | InstanceDiscarded | AssociationValidated


@dataclass(frozen=True, slots=True)
class Stored:
    """What of a batch was new to the database, so that nothing counts twice."""

    instances: frozenset[UUID] = frozenset()
    """Events whose instance was new."""
    held: frozenset[UUID] = frozenset()
    """Quarantine entries that were new."""
    released: frozenset[UUID] = frozenset()
    discarded: frozenset[UUID] = frozenset()
    associations: frozenset[tuple[str, str, UUID]] = frozenset()
    replaced: frozenset[UUID] = frozenset()
    """Events whose bytes took the place of accepted ones."""
    taken_back: Mapping[UUID, int] = field(default_factory=dict)
    """By share, how many instances that had been handed over have other bytes now."""
    disputed: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """Studies whose number of instances in dispute may be another."""


@dataclass(slots=True)
class News:
    """What is new for the shares of a study."""

    accepted: int = 0
    results: int = 0
    """Of these, what is a result (`imex.sharing.results`)."""
    released: list[InstanceValidated] = field(default_factory=list)
    held: list[InstanceQuarantined] = field(default_factory=list)
    discarded: list[InstanceDiscarded] = field(default_factory=list)
    repeated: dict[UUID, int] = field(default_factory=dict)
    """Instances that came again, by association."""
    replaced: list[InstanceValidated] = field(default_factory=list)
    """Other bytes took the place of accepted ones."""
    taken_back: Mapping[UUID, int] = field(default_factory=dict)
    lost: int = 0
    """Change of what was acknowledged and never heard of."""
    series: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """Modality, body part and description of each series that something was accepted of."""
    arrivals: bool = False
    """A sender sent something; releases and discards are people's doing."""


def first_of(messages: Sequence[Message]) -> Study | None:
    """A study that is not known yet, by the first message that says where it comes from."""
    for message in messages:
        if isinstance(message.event, InstanceEvent):
            return studies.first_seen(message.event.data, message.topic, message.partition, message.timestamp)
    return None


def read(  # noqa: PLR0912  one branch for each kind of news
    study: Study, messages: Sequence[Message], stored: Stored, open_identity: OpenIdentity
) -> tuple[Study, News]:
    """The study after the messages, and what they mean for its shares."""
    news = News(taken_back=stored.taken_back)
    disputed, recalled = stored.disputed.get(study.key, (study.disputed, study.recalled))
    study = replace(study, disputed=disputed, recalled=recalled)
    new_associations = {key[2] for key in stored.associations if key[:2] == study.key}
    for message in messages:
        event: Event[Any] = message.event
        study = replace(study, topic=message.topic, partition=message.partition)
        if isinstance(event, InstanceEvent):
            association = event.data.association
            study = studies.heard(
                study, event.data, message.timestamp, by_new_association=association in new_associations
            )
            new_associations.discard(association)
        match event:
            case InstanceValidated(data=data):
                news.arrivals |= not data.released
                if data.quarantine in stored.released:
                    study = replace(study, waiting=study.waiting - 1)
                    news.released.append(event)
                if event.id in stored.replaced:
                    news.replaced.append(event)
                if event.id in stored.instances:
                    identity = None
                    # one of each series tells enough, but for who it is where the first names nobody
                    if data.series_uid not in news.series or not study.patient_id:
                        identity = open_identity(data.identity, data.object_key)
                        news.series[data.series_uid] = (
                            data.modality,
                            data.body_part,
                            identity.series_description,
                        )
                    study = studies.accepted(study, data, identity, message.timestamp)
                    news.accepted += 1
                    news.results += data.sop_class_uid in RESULT_CLASSES
            case InstanceQuarantined(data=data):
                news.arrivals = True
                if data.quarantine in stored.held:
                    study = replace(study, waiting=study.waiting + 1)
                    news.held.append(event)
            case InstanceDuplicated(data=data):
                news.arrivals = True
                news.repeated[data.association] = news.repeated.get(data.association, 0) + 1
            case InstanceDiscarded(data=data):
                if data.quarantine in stored.discarded:
                    study = replace(study, waiting=study.waiting - 1, discarded=study.discarded + 1)
                    news.discarded.append(event)
            case AssociationValidated():
                pass
    return study, news
