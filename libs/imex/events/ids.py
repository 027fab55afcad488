"""Deterministic ids: what happens twice has one id, so that its effects happen once.

Ids are RFC 9562 UUIDs of version 5 over natural keys; trace ids follow W3C Trace Context.
"""

import hashlib
from uuid import UUID, uuid5

from imex.events.envelope import OdsCode, study_key

NAMESPACE = UUID("6f6b4a0e-6f0e-5d53-9a5a-1d1f4f0c9b7e")
"""The namespace of every derived id. Changing it would make old facts new again."""

_SEPARATOR = "\x1f"  # no UID, code or name contains a unit separator, so keys cannot run together


def derived(*parts: str) -> UUID:
    """The id over natural key `parts`, in their order."""
    return uuid5(NAMESPACE, _SEPARATOR.join(parts))


def share_id(source: OdsCode, study_uid: str, recipient: OdsCode, purpose: str, episode: int) -> UUID:
    """One passage of a study to one recipient for one purpose."""
    return derived("share", source, study_uid, recipient, purpose, str(episode))


def delivery_id(share: UUID, endpoint: str) -> UUID:
    """The carrying of one share to one endpoint."""
    return derived("delivery", str(share), endpoint)


def caused_id(cause: UUID, type_name: str, subject: str) -> UUID:
    """The id of an event that `cause` brought about."""
    return derived("event", str(cause), type_name, subject)


def trace_id(source: OdsCode, study_uid: str) -> int:
    """The 128-bit trace id of a study's passage; every service derives the same."""
    return int.from_bytes(_digest(study_key(source, study_uid))[:16]) or 1


def root_span_id(source: OdsCode, study_uid: str) -> int:
    """The 64-bit id of the trace's root span, known before anyone has exported it."""
    return int.from_bytes(_digest("root/" + study_key(source, study_uid))[:8]) or 1


def trace_id_hex(source: OdsCode, study_uid: str) -> str:
    """The trace id as people and Zipkin see it: 32 hex digits."""
    return f"{trace_id(source, study_uid):032x}"


def root_traceparent(source: OdsCode, study_uid: str) -> str:
    """The W3C `traceparent` that makes a span a child of the study's root."""
    return f"00-{trace_id_hex(source, study_uid)}-{root_span_id(source, study_uid):016x}-01"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
