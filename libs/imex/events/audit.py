"""Who did what to whose images, on which basis."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from imex.events.envelope import Event, OdsCode, Payload, schema_url, study_key

AuditAction = Literal[
    "association_rejected",   # a DICOM peer was turned away
    "instances_received",     # a study, or a part of one, came in
    "instances_refused",      # a C-STORE was answered with a failure
    "instance_quarantined", "instance_released", "instance_discarded",
    "share_requested", "share_accepted", "share_refused", "share_cancelled", "share_revoked",
    "share_failed", "share_expired",
    "share_escalated", "notice_acknowledged",
    "identifier_mapped", "identifier_unmapped",  # a recipient's own for a sender's
    "identity_linked", "nhs_number_traced",  # who somebody is; what tracing has found
    "record_marked", "record_marks_viewed",  # the national data opt-out, sensitive records
    "share_recalled", "share_corrected", "correction_acknowledged", "corrections_viewed",
    "subject_reported", "subject_erased", "subject_rectified",  # the rights of a person
    "request_made", "request_decided", "requests_viewed",  # one institution asking another for studies
    "studies_queried", "studies_retrieved",  # a holder's archive was asked, or sent what was asked for
    "commitment_asked", "commitment_told", "commitments_viewed",  # storage commitments asked of Imex
    "hold_placed", "hold_lifted", "payloads_deleted",  # legal hold, and the end of retention
    "instances_sent",         # an attempt carried images to a recipient
    "share_delivered",
    "instances_exported",     # somebody took a copy out of an inbox
    "share_viewed", "shares_listed", "identifier_searched", "quarantine_viewed", "audit_read",
    "delivery_commanded", "delivery_viewed", "destination_commanded", "destinations_listed",
    "endpoint_tested", "endpoint_tests_viewed",
    "dead_letter_replayed",
    "directory_applied", "directory_read",
    "signed_in", "sign_in_failed", "signed_out", "token_issued", "token_revoked", "access_denied",
]  # fmt: skip


class Actor(BaseModel):
    """Who acted. `id` is an institution code, an account id or a service's name, never a patient."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["institution", "person", "service", "unknown"]
    id: str
    institution: OdsCode | None = None


class AuditRecordedData(Payload):
    """One entry of the audit record."""

    action: AuditAction
    outcome: Literal["success", "refused", "failure"]
    actor: Actor
    study_uid: str | None = None
    source: OdsCode | None = None
    recipient: OdsCode | None = None
    share: UUID | None = None
    purpose: str | None = None
    legal_basis: str | None = None
    agreement: str | None = None
    reason: str = Field(default="", description="in words, without patient data")
    counts: dict[str, int] = Field(default={}, description="instances by outcome")
    details: dict[str, str] = Field(default={}, description="AE titles, endpoint, UIDs; no patient data")
    personal: dict[str, str] = Field(
        default={},
        description="facts on living persons who acted (user name, network address): the chain holds a "
        "salted commitment, so that they can be erased",
    )

    def routing_key(self) -> str:
        """Records of a study stay together; others by who acted."""
        if self.source and self.study_uid:
            return study_key(self.source, self.study_uid)
        return self.actor.institution or self.actor.id


class AuditRecorded(Event[AuditRecordedData]):
    """Something happened that must be answered for."""

    FAMILY: ClassVar[str] = "audit"
    PRODUCER: ClassVar[str] = "any"
    type: Literal["imex.audit.recorded"] = "imex.audit.recorded"
    dataschema: str = schema_url("imex.audit.recorded")
