"""Data sets of stored images on their way to a DICOM node, as they are stored or rewritten without loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from imex.dicom import dataset_offset
from imex.dicom.rewriting import CannotRewrite, rewrite
from imex.portal.archive import WHOLE_BYTES, Broken, checked, joined, load, whole_pieces
from imex.portal.queries.holdings import HeldInstance
from imex.storage import ObjectStore

REWRITTEN_BYTES: Final = 16 << 20
"""Larger images are not rewritten: they are held twice meanwhile, and so may be those of others."""
_META_BYTES: Final = 4096
"""File meta information of ours is shorter than this."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set of `length` bytes, whole and checked, or in pieces of which the last proves it right."""

    chunks: memoryview | AsyncIterable[bytes | memoryview]
    length: int


async def opened(store: ObjectStore, held: HeldInstance, transfer_syntax: str) -> DataSet:
    """The data set of an image in a transfer syntax that it is stored in or can be rewritten to.

    Raises:
        Broken: it is gone, not what it should be, or cannot be rewritten.
        StoreError: the store failed.
    """
    if transfer_syntax != held.transfer_syntax:
        if held.size > REWRITTEN_BYTES:
            raise Broken("an image is too large to be rewritten")
        whole = await _whole(store, held)
        try:
            made = await asyncio.to_thread(
                rewrite, whole, held.transfer_syntax, transfer_syntax, REWRITTEN_BYTES
            )
        except CannotRewrite as error:
            raise Broken(str(error)) from error
        return DataSet(memoryview(made), len(made))
    if held.size <= WHOLE_BYTES:
        whole = await _whole(store, held)
        return DataSet(whole, len(whole))
    pieces = _pieces(store, held)
    # the first piece now: what is gone is found out before anything of it is sent
    return DataSet(joined(await anext(pieces, b""), pieces), held.size)


class Ahead:
    """Reads the next image while one is sent: a small one, as it is stored."""

    def __init__(self, store: ObjectStore) -> None:
        """Nothing is read yet."""
        self._store = store
        self._of: HeldInstance | None = None
        self._task: asyncio.Task[DataSet] | None = None

    def begin(self, held: HeldInstance) -> None:
        """Read it, unless it is large."""
        if held.size <= WHOLE_BYTES:
            self._of = held
            self._task = asyncio.create_task(opened(self._store, held, held.transfer_syntax))

    async def opened(self, held: HeldInstance, transfer_syntax: str) -> DataSet:
        """What was begun, or what is to be read now. Raises as `opened` does."""
        task = self._task
        if task is None or self._of is not held or transfer_syntax != held.transfer_syntax:
            await self.close()
            return await opened(self._store, held, transfer_syntax)
        self._task = None
        try:
            return await task
        finally:
            task.cancel()

    async def close(self) -> None:
        """Read no further."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _whole(store: ObjectStore, held: HeldInstance) -> memoryview:
    content = await load(store, held.object_key)
    return await asyncio.to_thread(checked, content, held.digest)


async def _pieces(store: ObjectStore, held: HeldInstance) -> AsyncGenerator[bytes | memoryview, None]:
    """The file without its preamble and meta information."""
    start = bytearray()
    inside = False
    async with aclosing(whole_pieces(store, held.object_key, held.digest)) as coming:
        async for piece in coming:
            if inside:
                yield piece
                continue
            start += piece
            if len(start) >= _META_BYTES:
                inside = True
                yield memoryview(bytes(start))[dataset_offset(start) :]
    if not inside:
        yield memoryview(bytes(start))[dataset_offset(start) :]
