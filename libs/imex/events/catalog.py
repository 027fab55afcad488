"""The topics: the one place that says who writes what where, who reads it, and for how long.

Topic definitions, access rules and documents are all rendered from here.
"""

from dataclasses import dataclass
from typing import Any, Literal

from imex.events import (
    audit,
    capacity,
    commands,
    deliveries,
    directory,
    instances,
    manifests,
    retention,
    retrievals,
    shares,
    validations,
)
from imex.events.envelope import LANES, Event

_MINUTE_MS = 60 * 1000
_DAY_MS = 24 * 60 * _MINUTE_MS

STUDY_PARTITIONS = 12
"""Set high once: changing a partition count moves keys."""

EventClass = type[Event[Any]]


@dataclass(frozen=True, slots=True)
class Topic:
    """One Kafka topic."""

    name: str
    family: str
    owner: str
    """The service that writes it; `any` where every service does."""
    events: tuple[EventClass, ...]
    key: Literal["study", "actor", "directory", "process"]
    consumers: tuple[str, ...]
    partitions: int
    retention_ms: int
    compacted: bool = False
    identifying: bool = False
    """Carries the sealed field, so that it and its dead letters are kept 7 days and no longer."""
    broker_time: bool = False
    """Records carry the time at which the broker appended them: one clock for all readers."""
    description: str = ""

    @property
    def dead_letter(self) -> str:
        """Where records go that cannot be handled. It must not begin with `share`."""
        return f"dead.{self.name}"

    @property
    def producers(self) -> tuple[str, ...]:
        """The services that may write."""
        return SERVICES if self.owner == "any" else (self.owner,)


SERVICES = ("ingest", "validation", "routing", "delivery", "audit", "portal")

_INSTANCES: tuple[EventClass, ...] = (instances.InstanceReceived, instances.AssociationEnded)
_VALIDATIONS: tuple[EventClass, ...] = (
    validations.InstanceValidated,
    validations.InstanceQuarantined,
    validations.InstanceDuplicated,
    validations.InstanceDiscarded,
    validations.AssociationValidated,
    validations.StudyDisposed,
    validations.StudyKept,
)
_MANIFESTS: tuple[EventClass, ...] = (
    manifests.ManifestIssued,
    manifests.ManifestAnnotated,
    manifests.ManifestClosed,
    manifests.ManifestWithdrawn,
    manifests.ManifestPrioritised,
)
_DELIVERIES: tuple[EventClass, ...] = (
    deliveries.DeliveryAttempted,
    deliveries.DeliveryProgressed,
    deliveries.DeliveryCompleted,
    deliveries.DeliveryEnded,
    deliveries.DeliverySteered,
    retrievals.RetrievalMatched,
    retrievals.RetrievalProgressed,
)
_COMMANDS: tuple[EventClass, ...] = (
    commands.ShareCommanded,
    commands.QuarantineCommanded,
    commands.DeliveryCommanded,
    commands.DestinationCommanded,
    commands.EndpointCommanded,
    commands.IdentifierCommanded,
    commands.MarkCommanded,
    commands.LinkCommanded,
    commands.NumberCommanded,
    commands.ViewReported,
    commands.HoldCommanded,
    commands.RequestCommanded,
    commands.CorrectionCommanded,
    commands.SubjectCommanded,
)
_SHARES: tuple[EventClass, ...] = (
    shares.ShareRequested,
    shares.ShareAccepted,
    shares.ShareRefused,
    shares.ShareFirstImageReceived,
    shares.ShareCompleted,
    shares.ShareDeliveryAttempted,
    shares.SharePartiallyDelivered,
    shares.ShareDelivered,
    shares.ShareFailed,
    shares.ShareCancelled,
    shares.ShareRevoked,
    shares.ShareExpired,
    shares.ShareEscalated,
    shares.ShareViewed,
    shares.ShareResultReturned,
    shares.ShareRecalled,
    shares.ShareCorrected,
    shares.ShareCorrectionAcknowledged,
)


def _lanes(
    family: str,
    owner: str,
    events: tuple[EventClass, ...],
    consumers: tuple[str, ...],
    *,
    identifying: bool,
    description: str,
) -> tuple[Topic, ...]:
    return tuple(
        Topic(
            name=f"{family}.{lane}",
            family=family,
            owner=owner,
            events=events,
            key="study",
            consumers=consumers,
            partitions=STUDY_PARTITIONS,
            retention_ms=7 * _DAY_MS,
            identifying=identifying,
            description=f"{description} The {lane} lane.",
        )
        for lane in LANES
    )


TOPICS: tuple[Topic, ...] = (
    *_lanes(
        "instances", "ingest", _INSTANCES, ("validation", "portal"),
        identifying=True, description="Instances that are safe in the object store.",
    ),
    *_lanes(
        "validations", "validation", _VALIDATIONS, ("routing",),
        identifying=True, description="Instances judged.",
    ),
    *_lanes(
        "manifests", "routing", _MANIFESTS, ("delivery",),
        identifying=False, description="What each delivery is to carry.",
    ),
    Topic(
        name="deliveries", family="deliveries", owner="delivery", events=_DELIVERIES, key="study",
        consumers=("routing",), partitions=STUDY_PARTITIONS, retention_ms=7 * _DAY_MS,
        description="Attempts, confirmations and endings.",
    ),
    Topic(
        name="retention", family="retention", owner="routing", events=(retention.RetentionEnded,),
        key="study", consumers=("validation",), partitions=STUDY_PARTITIONS, retention_ms=7 * _DAY_MS,
        description="Studies whose payloads nobody needs any more.",
    ),
    Topic(
        name="retrievals", family="retrievals", owner="routing",
        events=(retrievals.RetrievalOrdered, retrievals.RetrievalWithdrawn),
        key="study", consumers=("delivery",), partitions=4, retention_ms=7 * _DAY_MS, identifying=True,
        description="What is to be fetched from holders, to answer requests.",
    ),
    Topic(
        name="commands", family="commands", owner="portal", events=_COMMANDS, key="study",
        consumers=("validation", "routing", "delivery", "audit"), partitions=STUDY_PARTITIONS,
        retention_ms=7 * _DAY_MS, identifying=True, description="What people asked for.",
    ),
    Topic(
        name="shares", family="shares", owner="routing", events=_SHARES, key="study",
        consumers=("portal",), partitions=STUDY_PARTITIONS, retention_ms=30 * _DAY_MS,
        description="Share events for partners: identifiers only.",
    ),
    Topic(
        name="audit", family="audit", owner="any", events=(audit.AuditRecorded,), key="actor",
        consumers=("audit",), partitions=4, retention_ms=30 * _DAY_MS,
        description="What must be answered for.",
    ),
    Topic(
        name="directory", family="directory", owner="portal", events=(directory.DirectoryApplied,),
        key="directory", consumers=SERVICES, partitions=1, retention_ms=-1, compacted=True,
        description="Announcements of directory versions.",
    ),
    Topic(
        name="capacity", family="capacity", owner="ingest",
        events=(capacity.CapacityClaimed, capacity.CapacityReleased, capacity.CapacityReported),
        key="process", consumers=("ingest",), partitions=1, retention_ms=10 * _MINUTE_MS, broker_time=True,
        description="What ingest's processes hold of the limits that they share: one order for all of them.",
    ),
)  # fmt: skip


def topic_of(event: Event[Any]) -> str:
    """The topic that an event belongs to: its family, and its lane where the family has lanes."""
    lane = getattr(event.data, "lane", None)
    if event.FAMILY in _LANED:
        return f"{event.FAMILY}.{lane}"
    return event.FAMILY


_LANED = frozenset(topic.family for topic in TOPICS if topic.name != topic.family)

EVENT_CLASSES: dict[str, EventClass] = {cls.type_name(): cls for topic in TOPICS for cls in topic.events}


def topic_named(name: str) -> Topic:
    """The topic of that name.

    Raises:
        KeyError: there is no such topic.
    """
    for topic in TOPICS:
        if topic.name == name:
            return topic
    raise KeyError(name)
