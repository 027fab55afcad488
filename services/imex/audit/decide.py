"""What an audit event becomes at its place in a chain. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from imex.audit_trail.chain import Head, Record, canonical_body, commitment, record_hash
from imex.events.audit import AuditRecorded, AuditRecordedData

SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Appended:
    """A record and the personal facts that stand beside it: field → (salt, value)."""

    record: Record
    personal: Mapping[str, tuple[bytes, str]]
    institutions: tuple[str, ...]


def append(event: AuditRecorded, head: Head, new_salt: Callable[[int], bytes]) -> Appended:
    """The record that follows `head`; `new_salt` gives that many unpredictable bytes."""
    personal = {field: (new_salt(SALT_BYTES), value) for field, value in sorted(event.data.personal.items())}
    commitments = {field: commitment(salt, value) for field, (salt, value) in personal.items()}
    sequence = head.length + 1
    body = canonical_body(event, head.partition, sequence, commitments)
    record = Record(head.partition, sequence, body, head.hash, record_hash(head.hash, body))
    return Appended(record, personal, readers(event.data))


def readers(data: AuditRecordedData) -> tuple[str, ...]:
    """The institutions that a record concerns, and that may therefore read it."""
    concerned = {data.actor.institution, data.source, data.recipient}
    if data.actor.kind == "institution":
        concerned.add(data.actor.id)
    return tuple(sorted(code for code in concerned if code))
