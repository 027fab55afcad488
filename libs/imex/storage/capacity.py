"""How full an object store is. S3 has no word for it: a port, with an adapter for each way to know."""

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any, Final, Protocol

from imex.settings import S3Settings
from imex.storage.http1 import Pool, Request
from imex.storage.port import ObjectStore, StoreRefused, StoreUnavailable
from imex.storage.sigv4 import EMPTY_SHA256, Signer
from imex.storage.tuning import StoreTuning

_STORAGE_INFO: Final = "/minio/admin/v3/storageinfo"
_LISTING_SHARE: Final = 100


@dataclass(frozen=True, slots=True)
class Capacity:
    """Bytes in use, and how many there are in all."""

    used: int
    total: int

    @property
    def fraction(self) -> float:
        """How full, from 0 to 1; full where there is nothing at all."""
        return min(1.0, self.used / self.total) if self.total > 0 else 1.0


class CapacitySource(Protocol):
    """Knows how full the store is."""

    async def read(self) -> Capacity:
        """As of now, or of a moment ago. Raises StoreError where it cannot be known."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class MinioCapacity:
    """MinIO's disks, by its administrative interface; the user needs `admin:StorageInfo`."""

    def __init__(self, settings: S3Settings, tuning: StoreTuning | None = None) -> None:
        """Build it inside a running event loop."""
        self._tuning = tuning or StoreTuning()
        self._pool = Pool(settings.endpoint, 1, self._tuning.connect_s)
        self._signer = Signer(
            settings.access_key, settings.secret_key.get_secret_value(), settings.region, self._pool.netloc
        )

    async def read(self) -> Capacity:
        """See CapacitySource."""
        headers = self._signer.headers("GET", _STORAGE_INFO, {}, {}, content_sha256=EMPTY_SHA256)
        try:
            async with (
                asyncio.timeout(self._tuning.request_s),
                self._pool.response(Request("GET", _STORAGE_INFO, headers)) as response,
            ):
                body = await response.read()
        except (OSError, TimeoutError) as error:
            raise StoreUnavailable(f"object store cannot be reached ({type(error).__name__})") from error
        if response.status >= 500:
            raise StoreUnavailable(f"object store answered {response.status}")
        if response.status >= 300:
            raise StoreRefused(f"object store does not say how full it is: {response.status}")
        return disks(body)

    async def close(self) -> None:
        """See CapacitySource."""
        self._pool.close()


def disks(body: bytes) -> Capacity:
    """The capacity that MinIO's answer tells: of all disks that work, parity included on both sides.

    Raises StoreRefused where it is none.
    """
    try:
        said: dict[str, Any] = json.loads(body)
        found = [disk for disk in said["Disks"] if disk.get("state", "ok") == "ok"]
        total = sum(int(disk.get("totalspace", 0)) for disk in found)
        free = sum(int(disk.get("availspace", 0)) for disk in found)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StoreRefused("the object store's answer about its disks cannot be read") from None
    if total <= 0:
        raise StoreRefused("the object store names no disks")
    return Capacity(total - free, total)


class DiskCapacity:
    """The file system that the store's data is on, where this process sees it too."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def read(self) -> Capacity:
        """See CapacitySource."""
        try:
            found = await asyncio.to_thread(os.statvfs, self._path)
        except OSError as error:
            raise StoreUnavailable(f"no file system to look at ({type(error).__name__})") from error
        total = found.f_blocks * found.f_frsize
        return Capacity(total - found.f_bavail * found.f_frsize, total)

    async def close(self) -> None:
        """See CapacitySource."""


class ListedCapacity:
    """Any S3: the sizes of all objects, against what the bucket is said to be able to take.

    Listing takes long where there is much, so that it is done again only after a hundred times as long; what
    came in meanwhile is not seen until then.
    """

    def __init__(self, store: ObjectStore, capacity_bytes: int) -> None:
        """`store` belongs to the caller."""
        self._store = store
        self._capacity = capacity_bytes
        self._known: Capacity | None = None
        self._again_at = 0.0

    async def read(self) -> Capacity:
        """See CapacitySource."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        if self._known is None or started >= self._again_at:
            used = 0
            async for info in self._store.list():
                used += info.size
            self._known = Capacity(used, self._capacity)
            ended = loop.time()
            self._again_at = ended + _LISTING_SHARE * (ended - started)
        return self._known

    async def close(self) -> None:
        """See CapacitySource."""


class Unmeasured:
    """Nobody wants to know."""

    async def read(self) -> Capacity:
        """Always empty."""
        return Capacity(0, 1)

    async def close(self) -> None:
        """See CapacitySource."""
