"""Sizes and deadlines of the S3 adapter."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoreTuning:
    """Sizes in bytes, times in seconds."""

    part_bytes: int = 8 * MIB
    """Up to so many bytes an upload is one PUT; beyond, parts of this size. S3 wants 5 MiB at least."""
    connections: int = 48
    """At a time; further requests wait, within their deadline."""
    connect_s: float = 3.0
    request_s: float = 15.0
    """One request with its body and answer, the wait for a connection included."""
    stall_s: float = 15.0
    """Longest silence in the middle of a streamed object."""
    patience_s: float = 4.0
    """How long a store that refuses connections or asks to slow down is tried again."""
    complete_s: float = 60.0
    """Assembling a multipart upload."""
