"""Whether two payloads have the same pixel data: asked of the object store only where headers differ."""

import asyncio
import hashlib
from collections.abc import Mapping

from imex.dicom import HeaderScanner, encoding_of
from imex.runtime import Transient
from imex.storage import ObjectNotFound, ObjectStore, StoreUnavailable

_AT_A_TIME = 8


class Pixels:
    """Compares pixel data, byte for byte as encoded, from its value's first byte to the data set's end."""

    def __init__(self, payloads: ObjectStore) -> None:
        """`payloads` is the bucket of ingest's objects."""
        self._payloads = payloads

    async def same(self, pairs: Mapping[str, tuple[str, str]]) -> set[str]:
        """Those object keys whose pixel data is that of the other object; each with its transfer syntax.

        Raises:
            Transient: the object store cannot be asked.
        """
        turns = asyncio.Semaphore(_AT_A_TIME)

        async def ask(key: str, syntax: str, other: str) -> str | None:
            async with turns:
                return key if await self._equal(key, syntax, other) else None

        try:
            found = await asyncio.gather(*(ask(key, *with_what) for key, with_what in pairs.items()))
        except StoreUnavailable as error:
            raise Transient("the object store cannot be asked for pixel data") from error
        return {key for key in found if key is not None}

    async def _equal(self, key: str, syntax: str, other: str) -> bool:
        if encoding_of(syntax).deflated:
            return False  # what inflates to the same need not be the same bytes: a person decides
        try:
            if (await self._payloads.head(other)).metadata.get("transfer-syntax") != syntax:
                return False
            mine = await self._digest(key, syntax)
            return mine is not None and mine == await self._digest(other, syntax)
        except ObjectNotFound:
            return False

    async def _digest(self, key: str, syntax: str) -> bytes | None:
        scanner = HeaderScanner(syntax)
        digest = hashlib.sha256()
        read = 0
        begun = False
        async for chunk in self._payloads.stream(key):
            if begun:
                digest.update(chunk)
                continue
            scanner.feed(chunk)
            if (at := scanner.pixel_at) is not None:
                begun = True
                digest.update(memoryview(chunk)[max(at - read, 0) :])
            read += len(chunk)
        return digest.digest() if begun else None
