"""Reading payloads ahead of the sender, and making sure that they are what was received.

A payload is a Part-10 file of ours: what is sent is its data set, whose digest the manifest carries. A
small one is checked whole before it is sent. Of a large one the last piece is held back until the digest
of all pieces agrees: without it the destination has no whole data set.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from imex.delivery.changing.facts import Given
from imex.delivery.jobs import Instance
from imex.delivery.pace import PIECE_BYTES, Pace
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
    """Bounds of reading ahead: instances for each association, bytes for the whole process.

    `whole_bytes` is up to which size one is held whole. What an association sends at the moment is not read
    ahead, and so never waits for room that a slow destination has taken.
    """

    instances: int = 3
    bytes: int = 32 << 20
    whole_bytes: int = 4 << 20


class Payload:
    """One data set on its way out."""

    def __init__(
        self, store: ObjectStore, instance: Instance, whole: memoryview | None, broken: str = ""
    ) -> None:
        """`whole` is the checked data set, None when it is to be streamed."""
        self.instance = instance
        self.broken = broken
        """Why it cannot be sent; empty when nothing is known against it."""
        self.pace: Pace | None = None
        """How fast it may go; none when as fast as it can."""
        self.changes: tuple[str, ...] = ()
        """What is changed in it on the way out, in words."""
        self.given: Given | None = None
        """What was given in place of what, to be kept with the outcome."""
        self.store = store
        self._whole = whole

    @property
    def sop_instance_uid(self) -> str:
        """Under which it is sent."""
        return self.instance.sop_instance_uid

    @property
    def study_uid(self) -> str:
        """The study of which it is sent; empty where that is its own."""
        return ""

    @property
    def size(self) -> int:
        """Bytes of the data set that is sent."""
        return self.instance.size

    @property
    def delivered_digest(self) -> str:
        """Of the data set that is sent, where that is not the stored one; known once it has been read."""
        return ""

    @property
    def whole(self) -> memoryview | None:
        """The checked data set, None when it is not held in memory or has to go in pieces."""
        return self._whole if self.pace is None else None

    async def chunks(self) -> AsyncGenerator[bytes | memoryview, None]:
        """The data set in pieces, as fast as it may go. Raises as `pieces` does."""
        async for piece in self.pieces():
            if self.pace is None:
                yield piece
                continue
            view = memoryview(piece)
            for start in range(0, len(view), PIECE_BYTES):
                part = view[start : start + PIECE_BYTES]
                await self.pace(len(part))
                yield part

    async def pieces(self) -> AsyncGenerator[bytes | memoryview, None]:
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
        async for piece in _data_set(self.store.stream(self.instance.object_key)):
            digest.update(piece)
            if held:
                yield held
            held = piece
        if "sha256:" + digest.hexdigest() != self.instance.digest:
            raise PayloadBroken(MISMATCH)
        yield held


Prepare = Callable[[Payload], Awaitable[Payload]]
"""From a stored payload to the one that is sent."""


class Reading:
    """A payload that is being read; `close` it when it is sent or no longer wanted."""

    def __init__(self, instance: Instance, task: "asyncio.Task[Payload]", done: Callable[[], None]) -> None:
        """Made by a `Reader`."""
        self.instance = instance
        self._task = task
        self._done = done

    async def payload(self) -> Payload:
        """The payload; raises StoreError when the store failed."""
        return await self._task

    def close(self) -> None:
        """Give its room back, and stop reading if it has not come."""
        self._task.cancel()
        if self._task.done() and not self._task.cancelled():
            self._task.exception()  # known, whoever wanted it
        self._done()


class Reader:
    """Reads payloads for all associations of a process, within one bound of bytes."""

    def __init__(self, store: ObjectStore, bounds: ReadAhead) -> None:
        """Nothing is read yet."""
        self._store = store
        self._room = bounds.bytes
        self.bounds = bounds

    def begin(self, instance: Instance, *, ahead: bool, prepare: Prepare | None = None) -> Reading | None:
        """Start to read; None when it would be `ahead` of what is sent and there is no room for it.

        What is read goes through `prepare`, where there is one.
        """
        if ahead and (self._room < instance.size or instance.size > self.bounds.whole_bytes):
            return None
        taken = instance.size if ahead else 0
        self._room -= taken
        task = asyncio.create_task(_load(self._store, instance, self.bounds.whole_bytes, prepare))

        def done() -> None:
            nonlocal taken
            self._room += taken
            taken = 0

        return Reading(instance, task, done)


async def _load(store: ObjectStore, instance: Instance, whole_bytes: int, prepare: Prepare | None) -> Payload:
    payload = await _stored(store, instance, whole_bytes)
    return payload if prepare is None else await prepare(payload)


async def _stored(store: ObjectStore, instance: Instance, whole_bytes: int) -> Payload:
    if instance.size > whole_bytes:
        return Payload(store, instance, None)
    try:
        content = await store.load(instance.object_key)
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
