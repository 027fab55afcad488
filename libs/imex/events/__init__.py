"""The contracts: what services tell each other and their partners."""

from imex.events.catalog import EVENT_CLASSES, SERVICES, TOPICS, Topic, topic_named, topic_of
from imex.events.codec import UndecodableEvent, decode
from imex.events.envelope import LANES, Event, Lane, Payload, Priority, StudyPayload, study_key
from imex.events.sealed import Identity, Sealed

__all__ = [
    "EVENT_CLASSES",
    "LANES",
    "SERVICES",
    "TOPICS",
    "Event",
    "Identity",
    "Lane",
    "Payload",
    "Priority",
    "Sealed",
    "StudyPayload",
    "Topic",
    "UndecodableEvent",
    "decode",
    "study_key",
    "topic_named",
    "topic_of",
]
