"""Reading payloads ahead of the sender, and making sure that they are what was received.

A payload is a Part-10 file of ours: what is sent is its data set, whose digest the manifest carries. A
small one is checked whole before it is sent. Of a large one the last piece is held back until the digest
of all pieces agrees: without it the destination has no whole data set.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from imex.delivery.jobs import Instance
from imex.dicom import dataset_offset
from imex.storage import ObjectNotFound, ObjectStore

_HEAD_BYTES: Final = 4096
"""Our own file meta information is shorter than this."""
_THREAD_BYTES: Final = 2 << 20

MISMATCH: Final = "payload in the store does not match its digest"
MISSING: Final = "payload is not in the store"


class PayloadBroken(Exception):
    """The payload is not what was received; the words are fit for a timeline."""


@dataclass(frozen=True, slots=True)
class ReadAhead:
    """Bounds of reading ahead, in instances and bytes, and up to which size one is held whole."""

    instances: int = 4
    bytes: int = 16 << 20
    whole_bytes: int = 16 << 20


class Payload:
    """One data set on its way out."""

    def __init__(
        self, store: ObjectStore, instance: Instance, whole: memoryview | None, broken: str = ""
    ) -> None:
        """`whole` is the checked data set, None when it is to be streamed."""
        self.instance = instance
        self.broken = broken
        """Why it cannot be sent; empty when nothing is known against it."""
        self._store = store
        self._whole = whole

    async def chunks(self) -> AsyncGenerator[bytes | memoryview, None]:
        """The data set in pieces.

        Raises:
            PayloadBroken: found out on the way; the destination must not get to believe that it has it.
            StoreError: the store failed.
        """
        if self._whole is not None:
            yield self._whole
            return
        digest = hashlib.sha256()
        held = b""
        async for piece in _data_set(self._store.stream(self.instance.object_key)):
            digest.update(piece)
            if held:
                yield held
            held = piece
        if "sha256:" + digest.hexdigest() != self.instance.digest:
            raise PayloadBroken(MISMATCH)
        yield held


@contextlib.asynccontextmanager
async def reading_ahead(
    store: ObjectStore, wanted: Sequence[Instance], bounds: ReadAhead
) -> AsyncIterator[AsyncIterator[Payload]]:
    """The payloads of `wanted` in order, a few of them read before they are asked for.

    Iterating raises StoreError when the store fails.
    """
    queue: asyncio.Queue[Payload | Exception | None] = asyncio.Queue(bounds.instances)
    room = _Room(bounds.bytes)
    reader = asyncio.create_task(_read(store, wanted, bounds, queue, room))
    try:
        yield _taken(queue, room)
    finally:
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reader


async def _taken(queue: "asyncio.Queue[Payload | Exception | None]", room: "_Room") -> AsyncIterator[Payload]:
    while (got := await queue.get()) is not None:
        if isinstance(got, Exception):
            raise got
        yield got
        room.give_back(got.instance.size)


async def _read(
    store: ObjectStore,
    wanted: Sequence[Instance],
    bounds: ReadAhead,
    queue: "asyncio.Queue[Payload | Exception | None]",
    room: "_Room",
) -> None:
    try:
        for instance in wanted:
            await room.take(instance.size)
            await queue.put(await _load(store, instance, bounds.whole_bytes))
        await queue.put(None)
    except Exception as error:  # noqa: BLE001  whoever takes from the queue raises it
        await queue.put(error)


async def _load(store: ObjectStore, instance: Instance, whole_bytes: int) -> Payload:
    if instance.size > whole_bytes:
        return Payload(store, instance, None)
    try:
        content = memoryview(await store.get(instance.object_key))
        data_set = content[dataset_offset(content) :]
    except ObjectNotFound:
        return Payload(store, instance, None, MISSING)
    except ValueError:
        return Payload(store, instance, None, MISMATCH)
    if len(data_set) != instance.size or await _digest(data_set) != instance.digest:
        return Payload(store, instance, None, MISMATCH)
    return Payload(store, instance, data_set)


async def _digest(data: memoryview) -> str:
    # a thread costs more than hashing a usual slice does
    hashed = (
        hashlib.sha256(data) if len(data) < _THREAD_BYTES else await asyncio.to_thread(hashlib.sha256, data)
    )
    return "sha256:" + hashed.hexdigest()


async def _data_set(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What comes after the file meta information."""
    head = bytearray()
    inside = False
    try:
        async for piece in pieces:
            if inside:
                yield piece
                continue
            head += piece
            if len(head) >= _HEAD_BYTES:
                inside = True
                yield bytes(head[dataset_offset(head) :])
        if not inside:
            yield bytes(head[dataset_offset(head) :])
    except ObjectNotFound:
        raise PayloadBroken(MISSING) from None
    except ValueError:
        raise PayloadBroken(MISMATCH) from None


class _Room:
    """Bytes that may be held at a time; something larger than all of it is let in alone."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = 0
        self._freed = asyncio.Event()

    async def take(self, size: int) -> None:
        while self._used and self._used + size > self._size:
            self._freed.clear()
            await self._freed.wait()
        self._used += size

    def give_back(self, size: int) -> None:
        self._used -= size
        self._freed.set()
