"""Whether two payloads have the same pixel data: asked of the object store only where headers differ."""

import asyncio
import hashlib
from collections.abc import Mapping
from io import BytesIO
from typing import Final

from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from imex.dicom import HeaderScanner, encoding_of
from imex.dicom.quiet import be_quiet
from imex.runtime import Transient
from imex.storage import ObjectNotFound, ObjectStore, StoreUnavailable

_AT_A_TIME = 8
_HEADER_BYTES: Final = 4 << 20
_IMAGE_PIXEL: Final = frozenset(
    {
        *(0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011),  # what the bytes stand for
        *(0x00280100, 0x00280101, 0x00280102, 0x00280103),
        *(0x00280030, 0x00280034),  # how large a pixel is
        *(0x00281052, 0x00281053, 0x00281054),  # what a value means
        *range(0x00281101, 0x00281104),
        *range(0x00281201, 0x00281204),
    }
)
"""Attributes without which equal bytes are not equal images (PS3.3 C.7.6.3, C.10.7, C.11.1)."""


class Pixels:
    """Compares pixel data, byte for byte as encoded, from its value's first byte to the data set's end.

    What makes an image of the bytes, such as rows and columns, is compared with them.
    """

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
        header = bytearray()
        begun = False
        async for chunk in self._payloads.stream(key):
            if begun:
                digest.update(chunk)
                continue
            scanner.feed(chunk)
            if (at := scanner.pixel_at) is not None:
                begun = True
                in_chunk = max(at - len(header), 0)
                header += memoryview(chunk)[:in_chunk]
                image_pixel = _image_pixel(bytes(header), syntax)
                if image_pixel is None:
                    return None
                digest.update(image_pixel)
                digest.update(memoryview(chunk)[in_chunk:])
            elif len(header) + len(chunk) > _HEADER_BYTES:
                return None
            else:
                header += chunk
        return digest.digest() if begun else None


def _image_pixel(header: bytes, syntax: str) -> bytes | None:
    """The attributes that make an image of the pixel data, as one string of bytes; None where unreadable."""
    encoding = encoding_of(syntax)
    be_quiet()

    def beyond(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag.group > 0x0028

    try:
        found = read_dataset(BytesIO(header), encoding.implicit, not encoding.big_endian, stop_when=beyond)
        said = [(tag, repr(found.get_item(tag).value)) for tag in found.keys() & _IMAGE_PIXEL]
    except Exception:  # noqa: BLE001  pydicom raises what it likes: a person decides then
        return None
    return repr(sorted(said)).encode()
