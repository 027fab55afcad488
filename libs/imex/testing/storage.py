"""An object store in memory that keeps the port's promises and fails when told to."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Final

from imex.storage.port import (
    Buffer,
    ObjectInfo,
    ObjectNotFound,
    Stored,
    StoreError,
    StoreRefused,
    Upload,
    checked_metadata,
)

_PIECE: Final = 64 * 1024


class MemoryStore:
    """Passes the contract suite of :class:`imex.storage.port.ObjectStore`.

    Set ``failure`` to an error and every call raises it; ``delay_s`` makes every call slow.
    """

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str], datetime]] = {}
        self.failure: StoreError | None = None
        self.delay_s = 0.0
        self.open_uploads = 0

    async def _step(self) -> None:
        await asyncio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure

    async def put(
        self, key: str, data: Buffer, metadata: Mapping[str, str] | None = None, sha256: str | None = None
    ) -> Stored:
        """Keep a copy."""
        checked = checked_metadata(metadata)
        content = bytes(data)
        await self._step()
        digest = hashlib.sha256(content).hexdigest()
        if sha256 is not None and sha256 != digest:
            raise StoreRefused("object store answered 400 XAmzContentSHA256Mismatch")
        self.objects[key] = (content, checked, datetime.now(UTC).replace(microsecond=0))
        return Stored(key, len(content), digest)

    def open_put(self, key: str, metadata: Mapping[str, str] | None = None) -> Upload:
        """An upload that is visible once it is committed."""
        return _MemoryUpload(self, key, checked_metadata(metadata))

    async def get(self, key: str) -> bytes:
        """The bytes under the key."""
        await self._step()
        return self._found(key)[0]

    async def load(self, key: str) -> memoryview:
        """The object."""
        return memoryview(await self.get(key))

    async def stream(self, key: str, offset: int = 0) -> AsyncIterator[bytes]:
        """The bytes in small pieces."""
        await self._step()
        content = self._found(key)[0]
        for start in range(offset, len(content), _PIECE):
            yield content[start : start + _PIECE]
            await self._step()

    async def head(self, key: str) -> ObjectInfo:
        """Size, time, metadata."""
        await self._step()
        content, metadata, modified = self._found(key)
        return ObjectInfo(key, len(content), modified, metadata)

    async def delete(self, key: str) -> None:
        """Forget the key."""
        await self._step()
        self.objects.pop(key, None)

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """In order of key."""
        await self._step()
        for key in sorted(self.objects):
            if key.startswith(prefix):
                content, _, modified = self.objects[key]
                yield ObjectInfo(key, len(content), modified)

    async def ensure_bucket(self) -> None:
        """There is always one."""
        await self._step()

    async def close(self) -> None:
        """Nothing to let go of."""

    def _found(self, key: str) -> tuple[bytes, dict[str, str], datetime]:
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectNotFound(f"no object {key!r}") from None


class _MemoryUpload:
    def __init__(self, store: MemoryStore, key: str, metadata: dict[str, str]) -> None:
        self._store = store
        self._key = key
        self._metadata = metadata
        self._buffer = bytearray()
        self._over = False
        store.open_uploads += 1

    async def write(self, chunk: Buffer) -> None:
        if self._over:
            raise StoreRefused("the upload is over")
        self._buffer += chunk

    async def commit(self) -> Stored:
        if self._over:
            raise StoreRefused("the upload is over")
        stored = await self._store.put(self._key, bytes(self._buffer), self._metadata)
        self._end()
        return stored

    async def abort(self) -> None:
        if not self._over:
            self._end()

    def _end(self) -> None:
        self._over = True
        self._buffer = bytearray()
        self._store.open_uploads -= 1
