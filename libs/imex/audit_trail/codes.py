"""How each audited action is coded (DICOM PS3.15 A.5, DCM codes of PS3.16; FHIR AuditEvent)."""

from dataclasses import dataclass
from typing import Literal

from imex.events.audit import AuditAction

Effect = Literal["C", "R", "U", "D", "E"]
"""Create, read, update, delete, execute (PS3.15 A.5.1, EventActionCode)."""


@dataclass(frozen=True, slots=True)
class Coding:
    """The event id of an action and what it does."""

    code: str
    display: str
    effect: Effect


_TRANSFERRED = ("110104", "DICOM Instances Transferred")
_ACCESSED = ("110103", "DICOM Instances Accessed")
_BEGIN_TRANSFER = ("110102", "Begin Transferring DICOM Instances")
_SECURITY_ALERT = ("110113", "Security Alert")
_EXPORT = ("110106", "Export")
_QUERY = ("110112", "Query")
_AUTHENTICATION = ("110114", "User Authentication")
_AUDIT_USED = ("110101", "Audit Log Used")
_ORDER = ("110109", "Order Record")
_ADMINISTRATION = ("110100", "Application Activity")

CODINGS: dict[AuditAction, Coding] = {
    "association_rejected": Coding(*_SECURITY_ALERT, "E"),
    "instances_received": Coding(*_TRANSFERRED, "C"),
    "instances_refused": Coding(*_SECURITY_ALERT, "E"),
    "instance_quarantined": Coding(*_ACCESSED, "U"),
    "instance_released": Coding(*_ACCESSED, "U"),
    "instance_discarded": Coding(*_ACCESSED, "D"),
    "share_requested": Coding(*_ORDER, "C"),
    "share_accepted": Coding(*_ORDER, "U"),
    "share_refused": Coding(*_ORDER, "U"),
    "share_cancelled": Coding(*_ORDER, "U"),
    "share_revoked": Coding(*_ORDER, "U"),
    "share_failed": Coding(*_ORDER, "U"),
    "share_expired": Coding(*_ORDER, "U"),
    "share_escalated": Coding(*_ORDER, "U"),
    "notice_acknowledged": Coding(*_ADMINISTRATION, "E"),
    "identifier_mapped": Coding(*_ADMINISTRATION, "C"),
    "identifier_unmapped": Coding(*_ADMINISTRATION, "D"),
    "identity_linked": Coding(*_ADMINISTRATION, "U"),
    "nhs_number_traced": Coding(*_ADMINISTRATION, "U"),
    "record_marked": Coding(*_ADMINISTRATION, "U"),
    "record_marks_viewed": Coding(*_QUERY, "E"),
    "share_recalled": Coding(*_ORDER, "U"),
    "share_corrected": Coding(*_ORDER, "U"),
    "correction_acknowledged": Coding(*_ORDER, "U"),
    "corrections_viewed": Coding(*_QUERY, "E"),
    "subject_reported": Coding(*_QUERY, "E"),
    "subject_erased": Coding(*_ADMINISTRATION, "D"),
    "subject_rectified": Coding(*_ADMINISTRATION, "U"),
    "request_made": Coding(*_ORDER, "C"),
    "request_decided": Coding(*_ORDER, "U"),
    "requests_viewed": Coding(*_QUERY, "E"),
    "studies_queried": Coding(*_QUERY, "E"),
    "studies_retrieved": Coding(*_TRANSFERRED, "C"),
    "commitment_asked": Coding(*_QUERY, "E"),
    "commitment_told": Coding(*_QUERY, "E"),
    "commitments_viewed": Coding(*_QUERY, "E"),
    "hold_placed": Coding(*_ADMINISTRATION, "U"),
    "hold_lifted": Coding(*_ADMINISTRATION, "U"),
    "payloads_deleted": Coding("110105", "DICOM Study Deleted", "D"),
    "instances_sent": Coding(*_BEGIN_TRANSFER, "E"),
    "share_delivered": Coding(*_TRANSFERRED, "R"),
    "instances_exported": Coding(*_EXPORT, "R"),
    "share_viewed": Coding(*_ACCESSED, "R"),
    "shares_listed": Coding(*_QUERY, "E"),
    "identifier_searched": Coding(*_QUERY, "E"),
    "quarantine_viewed": Coding(*_ACCESSED, "R"),
    "audit_read": Coding(*_AUDIT_USED, "R"),
    "delivery_commanded": Coding(*_ORDER, "U"),
    "delivery_viewed": Coding(*_ACCESSED, "R"),
    "destination_commanded": Coding(*_ADMINISTRATION, "U"),
    "destinations_listed": Coding(*_QUERY, "E"),
    "endpoint_tested": Coding(*_ADMINISTRATION, "E"),
    "endpoint_tests_viewed": Coding(*_ADMINISTRATION, "R"),
    "dead_letter_replayed": Coding(*_ADMINISTRATION, "E"),
    "directory_applied": Coding(*_ADMINISTRATION, "U"),
    "directory_read": Coding(*_ADMINISTRATION, "R"),
    "signed_in": Coding(*_AUTHENTICATION, "E"),
    "sign_in_failed": Coding(*_AUTHENTICATION, "E"),
    "signed_out": Coding(*_AUTHENTICATION, "E"),
    "token_issued": Coding(*_SECURITY_ALERT, "E"),
    "token_revoked": Coding(*_SECURITY_ALERT, "E"),
    "access_denied": Coding(*_SECURITY_ALERT, "E"),
}

OUTCOMES: dict[str, str] = {"success": "0", "refused": "4", "failure": "8"}
"""EventOutcomeIndicator: success, minor failure, serious failure (PS3.15 A.5.1)."""
