"""The directory as a service knows it: one immutable snapshot, swapped whole when a new one is announced."""

import asyncio
import gc
import logging
import time
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from imex.directory import Directory, DirectoryIndex
from imex.directory.collector import resting
from imex.directory.loading import UnreadableDocument, load
from imex.events import UndecodableEvent, decode
from imex.events.directory import DirectoryApplied
from imex.observability import names
from imex.observability.metrics import Metrics
from imex.runtime.backoff import Interrupted, pause
from imex.runtime.errors import Transient
from imex.runtime.health import Health
from imex.runtime.kafka_client import following
from imex.runtime.loops import Loops
from imex.settings import KafkaSettings
from imex.storage.port import ObjectStore, StoreError

log = logging.getLogger(__name__)

TOPIC = "directory"
_POLL_MS = 200
_WAIT_S = 5.0
_ALONE_AFTER_S = 3.0
_STALLED_S = 90.0


class DirectoryFeed:
    """Follows the compacted topic `directory` without a group: every process reads all of it.

    The record names the document's object; the document is named by its digest and never changes. While
    Kafka is away at the start, the newest document in the object store is used until the topic can be read.
    """

    name = "directory"

    def __init__(
        self,
        settings: KafkaSettings,
        documents: ObjectStore,
        metrics: Metrics | None = None,
        topic: str = TOPIC,
    ) -> None:
        """`documents` is the store of the directory's bucket; it belongs to the caller."""
        self._settings = settings
        self._documents = documents
        self._partition = TopicPartition(topic, 0)
        made = metrics or Metrics("directory")
        self._since = made.gauge(names.DIRECTORY_SINCE)
        self._changes = made.counter(names.DIRECTORY_CHANGES)
        self._index = DirectoryIndex(Directory())
        self._number = 0
        self._known: set[str] = set()
        self._position = -1
        self._caught_up = False
        self._client: AIOKafkaConsumer | None = None
        self._stopping = asyncio.Event()
        self._moved = asyncio.Condition()
        self._loops = Loops()
        self._turned = time.monotonic()
        self._trouble = "reading the directory"

    @property
    def index(self) -> DirectoryIndex:
        """The version in force; an empty directory before the first one is applied."""
        return self._index

    @property
    def number(self) -> int:
        """The version's number; 0 before the first, and while only the object store could be asked."""
        return self._number

    def current(self) -> DirectoryIndex | None:
        """The version in force; None while it is not known yet."""
        return self._index if self._caught_up or self._known else None

    async def wait_for(self, version: str) -> None:
        """Return once this version (a digest), or a later one, is in force here.

        A version that was never seen is either newer than ours or older than the compacted topic goes back;
        having read the topic to its present end settles which.

        Raises:
            Transient: that cannot be settled within 5 s.
        """
        if version in self._known:
            return
        client = self._client
        if client is None:
            raise Transient("the directory topic cannot be read")
        try:
            ends = await asyncio.wait_for(client.end_offsets([self._partition]), _WAIT_S)
        except (KafkaError, TimeoutError, OSError) as error:
            raise Transient("the directory topic cannot be read") from error
        end = ends[self._partition]
        await self._until(lambda: version in self._known or self._position >= end, "the newest directory")

    async def start(self) -> None:
        """Begin to read; returns at once, health tells when the directory is known."""
        self._turned = time.monotonic()
        self._loops.start(self._run(), "directory feed")
        self._loops.start(self._begin_alone(), "directory fallback")

    async def stop(self) -> None:
        """Stop following."""
        self._stopping.set()
        await self._loops.stop(5.0)

    def health(self) -> Health:
        """Ready once a directory is known, be it the stored one."""
        live = time.monotonic() - self._turned < _STALLED_S and not self._loops.failed
        return Health(live=live, ready=self.current() is not None, detail=self._loops.failed or self._trouble)

    async def _until(self, condition: Any, what: str) -> None:
        async with self._moved:
            try:
                await asyncio.wait_for(self._moved.wait_for(condition), _WAIT_S)
            except TimeoutError:
                raise Transient(f"{what} has not arrived here yet") from None

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._turned = time.monotonic()
            try:
                await self._follow()
            except Interrupted:
                return
            except (KafkaError, OSError, StoreError, TimeoutError) as error:
                self._trouble = f"cannot follow the directory: {type(error).__name__}"
                log.warning("%s", self._trouble)
                try:
                    await pause(0.5, self._stopping)
                except Interrupted:
                    return

    async def _follow(self) -> None:
        async with following(self._settings, self._partition) as client:
            # from the beginning: the topic is compacted, so that this is short, and no offset can be stale
            await client.seek_to_beginning(self._partition)
            self._client = client
            try:
                await self._read(client)
            finally:
                self._client = None

    async def _read(self, client: AIOKafkaConsumer) -> None:
        while not self._stopping.is_set():
            self._turned = time.monotonic()
            fetched = await client.getmany(timeout_ms=_POLL_MS)
            records = fetched.get(self._partition, [])
            announced = [found for record in records if (found := _announcement(record.value)) is not None]
            if announced:
                await self._swap(announced)
            position = await client.position(self._partition)
            if not self._caught_up:
                ends = await client.end_offsets([self._partition])
                self._caught_up = position >= ends[self._partition]
            if self._caught_up:
                self._trouble = ""
            if position != self._position:
                async with self._moved:
                    self._position = position
                    self._moved.notify_all()

    async def _swap(self, announced: list[DirectoryApplied]) -> None:
        newest = max(announced, key=lambda event: event.data.number)
        if newest.data.number > self._number:
            # an unreadable document leaves the last good one in force, and health says so
            index = await self._load(newest.data.object_key, newest.data.version)
            self._put_in_force(index, newest.data.number)
        async with self._moved:
            self._known.update(event.data.version for event in announced)
            self._moved.notify_all()

    async def _load(self, object_key: str, version: str | None) -> DirectoryIndex:
        body = await self._documents.get(object_key)
        try:
            return await asyncio.to_thread(indexed, body, version)
        except UnreadableDocument as error:
            self._changes.labels("unreadable").inc()
            raise OSError(f"{object_key}: {error}") from None

    def _put_in_force(self, index: DirectoryIndex, number: int) -> None:
        self._index, self._number = index, number
        self._known.add(index.version)
        self._since.set(datetime.now(UTC).timestamp())
        self._changes.labels("applied").inc()
        log.info("directory version %d (%s) is in force", number, index.version[:12])

    async def _begin_alone(self) -> None:
        try:
            await pause(_ALONE_AFTER_S, self._stopping)
        except Interrupted:
            return
        if self._caught_up or self._known:
            return
        try:
            stored = [info async for info in self._documents.list("versions/")]
            if stored:
                newest = max(stored, key=lambda info: info.modified)
                index = await self._load(newest.key, None)
                if not self._known:
                    self._put_in_force(index, 0)
        except (StoreError, OSError) as error:
            log.warning("no stored directory could be read: %s", type(error).__name__)


def indexed(body: bytes, version: str | None) -> DirectoryIndex:
    """A document as it is read in a thread of its own, while traffic goes on beside it.

    Raises:
        UnreadableDocument: it is no directory of this release.
    """
    # The objects of a large directory, some hundred thousand, live until the next one comes: for the garbage
    # collector to walk them would halt everything for a tenth of a second, now and then again.
    with resting():
        index = load(body, version)
        _ = index.version
        gc.freeze()
        return index


def _announcement(body: bytes | None) -> DirectoryApplied | None:
    if body is None:
        return None
    try:
        event = decode(body)
    except UndecodableEvent as error:
        log.error("a record of the directory topic cannot be read: %s", error)
        return None
    return event if isinstance(event, DirectoryApplied) else None
