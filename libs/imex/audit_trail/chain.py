"""How records are chained.

A record's hash is SHA-256 over the hash before it and its own body in canonical JSON (RFC 8785). Facts on
living persons stand beside the record; its body holds a salted commitment of each, so that a fact can be
erased and the chain still holds.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from imex.events.audit import AuditRecorded

GENESIS = b"\x00" * 32
"""What the first record of a chain, and the first checkpoint, follow."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it is stored."""

    partition: int
    sequence: int
    body: str
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain stood: `length` records, the last with `hash`."""

    partition: int
    length: int
    hash: bytes

    def as_json(self) -> dict[str, Any]:
        """For a checkpoint's row."""
        return {"partition": self.partition, "length": self.length, "hash": self.hash.hex()}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Head":
        """The inverse of `as_json`.

        Raises:
            KeyError, ValueError: it is no head.
        """
        return Head(int(value["partition"]), int(value["length"]), bytes.fromhex(value["hash"]))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The heads of all chains at a moment, chained in turn."""

    sequence: int
    heads: tuple[Head, ...]
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where the trail is not what was written."""

    chain: str
    sequence: int
    problem: str

    def __str__(self) -> str:
        """In one line."""
        return f"{self.chain}, record {self.sequence}: {self.problem}"


def commitment(salt: bytes, value: str) -> str:
    """Binds to `value` without telling it: hex of SHA-256 over a 16-byte salt and the value."""
    return hashlib.sha256(salt + value.encode()).hexdigest()


def canonical_body(
    event: AuditRecorded, partition: int, sequence: int, commitments: Mapping[str, str]
) -> str:
    """What is hashed and kept of an audit event: everything but the personal facts themselves."""
    data = event.data.model_dump(mode="json", exclude={"personal"}, exclude_none=True)
    body: dict[str, Any] = {
        "partition": partition,
        "sequence": sequence,
        "id": str(event.id),
        "time": event.time.isoformat(),
        "recorded_by": event.source,
        "data": data,
        "commitments": dict(commitments),
    }
    return rfc8785.dumps(body).decode()


def record_hash(previous: bytes, body: str) -> bytes:
    """The hash of a record that follows `previous`."""
    return hashlib.sha256(previous + body.encode()).digest()


def checkpoint_hash(previous: bytes, sequence: int, heads: tuple[Head, ...]) -> bytes:
    """The hash of a checkpoint that follows `previous`."""
    body = rfc8785.dumps({"sequence": sequence, "heads": [head.as_json() for head in heads]})
    return hashlib.sha256(previous + body).digest()
