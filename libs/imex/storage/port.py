"""What Imex asks of an object store."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

Buffer = bytes | bytearray | memoryview
_METADATA_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_METADATA_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,510}[\x21-\x7e])?|")


class StoreError(Exception):
    """The object store did not do what was asked. The words hold a key at most, never contents."""


class ObjectNotFound(StoreError):
    """There is no object under this key."""


class StoreUnavailable(StoreError):
    """The store is away, slow beyond the deadline, or asks to come back later."""


class StoreFull(StoreError):
    """The store has no room left (HTTP 507, ``XMinioStorageFull``)."""


class StoreRefused(StoreError):
    """The store understood and said no: credentials, bucket, a checksum that does not agree."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that the store has acknowledged. ``size`` in bytes."""

    key: str
    size: int
    etag: str = ""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What the store knows about an object. ``metadata`` is empty in listings."""

    key: str
    size: int
    modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


class Upload(Protocol):
    """One object on its way in, of a length that is not known before. Nothing is visible before commit."""

    async def write(self, chunk: Buffer) -> None:
        """Take the next bytes; they are copied. Waits while the store is slower than the caller.

        Raises:
            StoreError: see its kinds; the upload can only be aborted then.
        """
        ...

    async def commit(self) -> Stored:
        """Make the object visible and durable; raises StoreError."""
        ...

    async def abort(self) -> None:
        """Leave nothing behind. Never raises; does nothing after a commit."""
        ...


class ObjectStore(Protocol):
    """Objects in one bucket. Every method is bounded in time and raises kinds of StoreError."""

    async def put(
        self, key: str, data: Buffer, metadata: Mapping[str, str] | None = None, sha256: str | None = None
    ) -> Stored:
        """Store an object in one go, replacing what was there.

        The store verifies what arrives: against ``sha256``, the hex digest of ``data``, where it is given,
        otherwise against a checksum made here. Metadata names are lower-case letters, digits and hyphens,
        values printable ASCII.

        Raises:
            StoreUnavailable, StoreFull, StoreRefused: not stored, as far as is known.
            ValueError: metadata of another form.
        """
        ...

    def open_put(self, key: str, metadata: Mapping[str, str] | None = None) -> Upload:
        """Begin to store an object whose bytes are still to come."""
        ...

    async def get(self, key: str) -> bytes:
        """A whole object; for small ones. Raises ObjectNotFound."""
        ...

    async def load(self, key: str) -> memoryview:
        """Like `get`, for a caller that is content with a view: the bytes are where they were received."""
        ...

    def stream(self, key: str, offset: int = 0) -> AsyncIterator[bytes]:
        """The bytes of an object from ``offset`` on, in pieces. Raises ObjectNotFound at the first step.

        Ends early by StoreUnavailable only, so a loop that ends has seen all bytes.
        """
        ...

    async def head(self, key: str) -> ObjectInfo:
        """Size, time and metadata. Raises ObjectNotFound."""
        ...

    async def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...

    def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """The objects whose keys begin with ``prefix``, in order of key."""
        ...

    async def ensure_bucket(self) -> None:
        """Create the bucket when it is missing."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """The metadata as given, when every store can keep it unchanged.

    Raises:
        ValueError: a name or value has a form that HTTP headers would not carry unchanged.
    """
    found = dict(metadata or {})
    for name, value in found.items():
        if _METADATA_NAME.fullmatch(name) is None:
            raise ValueError(f"metadata name {name[:70]!r} is not of lower-case letters, digits and hyphens")
        if _METADATA_VALUE.fullmatch(value) is None:
            raise ValueError(f"the value of metadata {name!r} is not 0 to 512 characters of printable ASCII")
    return found
