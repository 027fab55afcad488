"""What the parts of delivery hand to each other."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, case, or_

from imex.db.tables.delivery import deliveries
from imex.delivery.changing.facts import Given
from imex.delivery.decide import Answer, Failing
from imex.events import Lane, Priority, ids


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed delivery: what an attempt needs to know of it."""

    id: UUID
    share: UUID
    source: str
    study_uid: str
    recipient: str
    endpoint: str
    lane: Lane
    priority: Priority
    attempt: int
    """The number of this attempt; it counts from 1."""
    failing: Failing
    created_at: datetime
    started_at: datetime
    expires_at: datetime
    ae_title: str
    lease: str
    """What `leased_by` must still say for the lease to hold."""
    traceparent: str
    """Of the attempt's span, else of the study's root: W3C trace context."""
    sends: bool = False
    """Whether there is something to send, so that this claim counts as an attempt."""
    agreement: str | None = None
    """That allowed the share; None where routing did not say so yet."""
    deidentify: dict[str, Any] | None = None
    """What was asked for when something of it was first sent."""
    associations: int = 1
    """That the database counts for it; a guest has none and uses those of others in turns."""
    probe: bool = False
    """It asks whether a destination that was away is back."""

    @property
    def destination(self) -> tuple[str, str]:
        """Recipient and endpoint name."""
        return self.recipient, self.endpoint

    @property
    def attempt_id(self) -> UUID:
        """The id of this attempt."""
        return attempt_id(self.id, self.attempt)


def held_by(job: Job) -> ColumnElement[bool]:
    """The row of the job's delivery while this claim of it holds: not another's, and no later one's."""
    return and_(
        deliveries.c.id == job.id,
        deliveries.c.leased_by == job.lease,
        deliveries.c.started_at == job.started_at,
    )


WITHDRAWN: Final = "stopped: the delivery was withdrawn"
PAUSED: Final = "stopped: the delivery was paused"
REROUTED: Final = "stopped: the delivery is sent to another endpoint"
DESTINATION_PAUSED: Final = "stopped: the destination was paused"


def why_stopped() -> ColumnElement[str]:
    """Why an attempt is to stop, in words; empty while it may go on."""
    d = deliveries.c
    return case(
        (or_(d.withdrawn, d.cancelled), WITHDRAWN),
        (d.paused.is_not(None), PAUSED),
        (d.reroute_to.is_not(None), REROUTED),
        else_="",
    )


def attempt_id(delivery: UUID, number: int) -> UUID:
    """The id of an attempt: a delivery and its number."""
    return ids.derived("attempt", str(delivery), str(number))


def job_of(row: Row[Any]) -> Job:
    """A job from a row of `deliveries`."""
    return Job(
        id=row.id,
        share=row.share,
        source=row.source,
        study_uid=row.study_uid,
        recipient=row.recipient,
        endpoint=row.endpoint,
        lane=row.lane,
        priority=row.priority,
        attempt=row.attempts,
        failing=Failing(row.failures, row.failing_since),
        created_at=row.created_at,
        started_at=row.started_at,
        expires_at=row.expires_at,
        ae_title=row.ae_title,
        lease=row.leased_by or "",
        traceparent=ids.root_traceparent(row.source, row.study_uid),
        agreement=row.agreement,
        deidentify=row.deidentify,
        associations=row.associations,
    )


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance to send."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax: str
    object_key: str
    size: int
    """Bytes of the encoded data set."""
    digest: str
    sent_before: int
    """Times that it was sent without an answer that settled it."""

    @property
    def context(self) -> tuple[str, str]:
        """SOP class and transfer syntax."""
        return self.sop_class_uid, self.transfer_syntax


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one instance in an attempt, and when."""

    instance: Instance
    answer: Answer
    at: datetime
    given: Given | None = None
    """What was given in place of what, where it was de-identified."""


@dataclass(frozen=True, slots=True)
class Due:
    """A destination with deliveries that may start now."""

    recipient: str
    endpoint: str
    emergency: bool

    @property
    def destination(self) -> tuple[str, str]:
        """Recipient and endpoint name."""
        return self.recipient, self.endpoint


@dataclass(frozen=True, slots=True)
class Depth:
    """How many deliveries to one recipient are in one state."""

    recipient: str
    priority: str
    state: str
    number: int
