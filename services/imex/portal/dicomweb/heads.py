"""Heads of stored images, read from the object store and no further than is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, cast

from imex.dicomweb.elements import Json, element
from imex.portal.queries.holdings import HeldInstance
from imex.storage import ObjectNotFound, ObjectStore

if TYPE_CHECKING:
    from imex.dicomweb.metadata import HeadReader

SEARCH_BYTES: Final = 256 * 1024
"""For a search: the attributes that it returns stand near the beginning."""
METADATA_BYTES: Final = 8 * 1024 * 1024
_AT_A_TIME: Final = 8


async def head_of(
    store: ObjectStore, held: HeldInstance, most: int, only: Collection[str] | None = None
) -> Json:
    """The head in DICOM JSON; only what is known of it anyway where it is gone, or cannot be read."""
    from imex.dicomweb.metadata import as_json

    try:
        reader = await reader_of(store, held, most)
    except ObjectNotFound:
        return known(held)
    return await asyncio.to_thread(lambda: as_json(reader.read(), only)) | known(held)


async def reader_of(store: ObjectStore, held: HeldInstance, most: int) -> HeadReader:
    """What has read the head as far as it could. Raises ObjectNotFound and what else the store raises."""
    # half a second of imports, for those who ask only
    from imex.dicomweb.metadata import HeadReader

    reader = HeadReader(held.transfer_syntax, most)
    async with aclosing(cast(AsyncGenerator[bytes, None], store.stream(held.object_key))) as pieces:
        async for piece in pieces:
            if reader.feed(piece):
                break
        else:
            reader.finish()
    return reader


def known(held: HeldInstance) -> Json:
    """What is known of an image without reading it."""
    return {
        "00080016": element("UI", held.sop_class_uid),
        "00080018": element("UI", held.sop_instance_uid),
        "00080060": element("CS", held.modality),
        "0020000D": element("UI", held.study_uid),
        "0020000E": element("UI", held.series_uid),
        "00083002": element("UI", held.transfer_syntax),
    }


async def heads_of(
    store: ObjectStore,
    held: Sequence[HeldInstance | None],
    most: int,
    only: Collection[str] | None = None,
) -> AsyncGenerator[Json, None]:
    """Heads in their order, a few read at a time, an empty one for None; of `only` these tags where given."""
    nothing: Json = {}

    async def one(instance: HeldInstance | None) -> Json:
        return nothing if instance is None else await head_of(store, instance, most, only)

    for start in range(0, len(held), _AT_A_TIME):
        # no more of them in memory than that: one can be as large as `most`
        some = held[start : start + _AT_A_TIME]
        for read in await asyncio.gather(*map(one, some)):
            yield read
