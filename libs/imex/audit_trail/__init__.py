"""The audit trail as a thing to check and to hand out: pure functions over its records."""

from imex.audit_trail.chain import (
    GENESIS,
    Break,
    Checkpoint,
    Head,
    Record,
    canonical_body,
    checkpoint_hash,
    commitment,
    record_hash,
)
from imex.audit_trail.verify import Verifier

__all__ = [
    "GENESIS",
    "Break",
    "Checkpoint",
    "Head",
    "Record",
    "Verifier",
    "canonical_body",
    "checkpoint_hash",
    "commitment",
    "record_hash",
]
