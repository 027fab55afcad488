"""Names of advisory locks. PostgreSQL knows them by a signed 64-bit number, shared by a whole database."""

import hashlib
from typing import Literal

Purpose = Literal["outbox", "relay"]


def lock_key(purpose: Purpose, schema: str) -> int:
    """The number of the lock that `schema` uses for `purpose`."""
    digest = hashlib.sha256(f"imex/{purpose}/{schema}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def lock_parts(key: int) -> tuple[int, int]:
    """How `pg_locks` shows a 64-bit advisory lock: its upper half as `classid`, its lower as `objid`."""
    unsigned = key & 0xFFFF_FFFF_FFFF_FFFF
    return unsigned >> 32, unsigned & 0xFFFF_FFFF
