"""Deleting many objects."""

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from imex.storage.port import ObjectStore, StoreError, StoreRefused

log = logging.getLogger(__name__)

_AT_A_TIME: Final = 8


async def delete_all(store: ObjectStore, keys: Collection[str]) -> set[str]:
    """Delete objects, some at a time; those that are gone. One that cannot be deleted is told, and stays.

    Raises:
        StoreError: the store is away: nothing was deleted, and not because it was refused.
    """
    turns = asyncio.Semaphore(_AT_A_TIME)
    troubles: list[StoreError] = []

    async def remove(key: str) -> str | None:
        async with turns:
            try:
                await store.delete(key)
            except StoreError as error:
                if not isinstance(error, StoreRefused):
                    troubles.append(error)
                log.error("an object cannot be deleted: %s (%s)", key, error)
                return None
        return key

    gone = {key for key in await asyncio.gather(*(remove(key) for key in keys)) if key is not None}
    if troubles and not gone:
        raise troubles[0]
    return gone
