"""What is known of a study and of a share, as values: rows of the schema `routing`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from imex.events.envelope import Lane, Priority
from imex.events.shares import FINAL_STATES, ShareState

Origin = Literal["rule", "called", "command", "prior", "return"]
StudyKey = tuple[str, str]
"""Source institution and Study Instance UID."""


PRIORITIES: tuple[Priority, ...] = get_args(Priority)
"""From the least urgent to the most."""
_LANES: Mapping[Priority, Lane] = {"emergency": "express", "urgent": "urgent", "routine": "bulk"}


def more_urgent(one: Priority, other: Priority) -> Priority:
    """The more urgent of two."""
    return max(one, other, key=PRIORITIES.index)


@dataclass(frozen=True, slots=True)
class Study:
    """A row of `routing.studies`. Some fields are patient data: never log it."""

    source: str
    study_uid: str
    lane: Lane
    topic: str
    partition: int
    first_received_at: datetime
    last_activity_at: datetime
    seen_at: datetime
    modalities: frozenset[str] = frozenset()
    sop_classes: frozenset[str] = frozenset()
    body_parts: frozenset[str] = frozenset()
    recipients: frozenset[str] = frozenset()
    standing: bool = False
    called_ae: str = ""
    patient_id: str = ""
    issuer: str = ""
    patient_name: str = ""
    birth_date: str = ""
    accession: str = ""
    study_date: str = ""
    study_description: str = ""
    series_descriptions: frozenset[str] = frozenset()
    validated: int = 0
    waiting: int = 0
    discarded: int = 0
    lost: int = 0
    """Acknowledged to the sender, but never heard of here: somewhere a record became a dead letter."""
    bytes: int = 0
    passage: int = 1
    evaluated_version: str = ""
    first_validated_at: datetime | None = None
    due_at: datetime | None = None
    closed_at: datetime | None = None
    expires_at: datetime | None = None
    expired_at: datetime | None = None
    settled_at: datetime | None = None
    disputed: int = 0
    """Accepted instances that do not leave until a person decides between them and other copies."""
    recalled: int = 0
    """Of these, those that their sender has taken back: they never leave."""
    stated_instances: int | None = None
    """How many instances there are, as the sender says (0020,1208)."""
    referenced: frozenset[str] = frozenset()
    """Other studies that its results refer to."""
    retention_at: datetime | None = None
    """When to look next whether its payloads are still needed; None: as soon as its shares have ended."""
    retiring_at: datetime | None = None
    """When validation was told that they are not; None again once it has answered."""
    disposed_at: datetime | None = None
    """Since when its payloads are gone."""
    hold_lifted_at: datetime | None = None
    """When a person said that nothing holds it any more."""

    @property
    def key(self) -> StudyKey:
        """What identifies it."""
        return self.source, self.study_uid

    @property
    def received(self) -> int:
        """Instances that came, whatever became of them."""
        return self.validated + self.waiting + self.discarded + self.lost


@dataclass(frozen=True, slots=True)
class Share:
    """A row of `routing.shares`."""

    id: UUID
    source: str
    study_uid: str
    recipient: str
    purpose: str
    episode: int
    passage: int
    priority: Priority
    origin: Origin
    directory_version: str
    created_at: datetime
    updated_at: datetime
    state: ShareState = "requested"
    reason: str = ""
    rule: str | None = None
    agreement: str | None = None
    legal_basis: str | None = None
    deidentified: bool = False
    """The agreement lets nothing leave as it is."""
    endpoint: str | None = None
    reference: str | None = None
    quiet_s: int | None = None
    command_id: UUID | None = None
    sequence: int = 0
    complete: bool = False
    delivery_revision: int = 0
    parts: int = 0
    handed: int = 0
    confirmed: int = 0
    failed: int = 0
    receipt_digest: str | None = None
    receipt_revision: int | None = None
    completed_at: datetime | None = None
    first_image_at: datetime | None = None
    last_image_at: datetime | None = None
    delivered_at: datetime | None = None
    expires_at: datetime | None = None
    escalate_after_s: int | None = None
    escalate_to: Priority | None = None
    escalated_to: Priority | None = None
    escalated_at: datetime | None = None
    clinician: str | None = None
    controllers: tuple[str, ...] = ()
    processors: tuple[str, ...] = ()
    alternate_of: str | None = None
    by_expected: bool = False
    """A count that the sender states ends the wait."""
    required_series: str | None = None
    """A condition on the study's series that has to hold before it is complete, in CEL."""
    at_most_s: int | None = None
    """Seconds after its first instance at which it is complete whatever lacks."""
    completion_asked_at: datetime | None = None
    """When a person said that it is complete."""
    priors_due: bool = False
    """Earlier studies that travel along have not been looked for yet."""
    result_due: bool = False
    """It has not been looked yet whether it brings back what its source made of a share."""
    legal_hold: bool = False
    """Its payloads stay until a person says so."""
    retain_days: int | None = None
    """Days that payloads stay after its end, as its agreement said when it was opened; None: the usual."""
    disposed_at: datetime | None = None
    """Since when its payloads are gone."""
    left_out: dict[str, int] | None = None
    """What of its study it does not carry (`imex.sharing.results.extent`), counted; None: nothing."""
    given_study_uid: str | None = None
    """How its recipient knows the study, where it gets it de-identified."""
    return_due: bool = False
    """It has not been looked yet whether a result had come by that UID before it was known."""
    at_disposal: dict[str, int] | None = None
    """What was counted of its study then."""
    reached: tuple[str, ...] = ()
    """The recipient's endpoints that have confirmed some of it, and those it was rerouted to."""

    @property
    def study(self) -> StudyKey:
        """The study it carries."""
        return self.source, self.study_uid

    @property
    def live(self) -> bool:
        """Whether a further passage is still this share's, rather than a new episode's."""
        return self.disposed_at is None and self.state not in FINAL_STATES

    @property
    def current_priority(self) -> Priority:
        """How urgent it is now: as it was decided, or as it has been raised to since."""
        return more_urgent(self.priority, self.escalated_to or self.priority)

    @property
    def lane(self) -> Lane:
        """The lane of its manifests, so that they stay in order: that of the priority it was decided with."""
        return _LANES[self.priority]

    @property
    def streams(self) -> bool:
        """Whether instances are handed over as they come, and not when the study is complete."""
        return self.priority == "emergency"
