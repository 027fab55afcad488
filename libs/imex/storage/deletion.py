"""Deleting many objects."""

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from imex.storage.port import ObjectStore, StoreRefused

log = logging.getLogger(__name__)

_AT_A_TIME: Final = 8


async def delete_all(store: ObjectStore, keys: Collection[str]) -> set[str]:
    """Delete objects, some at a time; those that are gone. One that the store refuses to delete is told.

    Raises:
        StoreError: the store is away; some may be gone.
    """
    turns = asyncio.Semaphore(_AT_A_TIME)

    async def remove(key: str) -> str | None:
        async with turns:
            try:
                await store.delete(key)
            except StoreRefused as error:
                log.error("an object cannot be deleted: %s (%s)", key, error)
                return None
        return key

    return {key for key in await asyncio.gather(*(remove(key) for key in keys)) if key is not None}
