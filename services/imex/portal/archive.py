"""Copies of what lies in an inbox: one file, or a ZIP with its DICOMDIR (PS3.12 annex V), streamed.

Neither a study nor a large instance is ever held. What is handed out has been compared with its digest: a
difference breaks the answer off before its end, and an archive without its end cannot be opened.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from uuid import UUID, uuid4

from imex.dicom import dataset_offset
from imex.portal.problems import Problem
from imex.portal.queries.inbox import Lying
from imex.storage import ObjectNotFound, ObjectStore

if TYPE_CHECKING:
    from imex.dicom.fileset import FileSetDirectory

Piece = TypeVar("Piece")

WHOLE_BYTES: Final = 4 << 20
"""Up to this size an instance is read whole; a larger one goes piece by piece."""
_META_BYTES: Final = 4096
"""File meta information of ours is shorter than this."""
_ZIP64_FROM: Final = (2 << 30) - (1 << 20)
_HEAD_BYTES: Final = 1 << 20


class Broken(Exception):
    """What was being handed out cannot be handed out whole; words for people and for the audit record."""


class Gone(Broken):
    """It is not there any more, or may not be read any more."""


class Downloads:
    """How many answers that cost something are made at a time, by the process and for one caller."""

    def __init__(self, total: int = 12, each: int = 3) -> None:
        """None yet."""
        self._total = total
        self._each = each
        self._running: dict[str, int] = {}

    @contextmanager
    def one(self, caller: str) -> Iterator[None]:
        """Count one more while the block runs.

        Raises:
            Problem: 429 or 503, there are as many as may be.
        """
        mine = self._running.get(caller, 0)
        if mine >= self._each:
            words = f"You have {mine} of these under way already. Wait until one has ended."
            raise Problem(429, words, headers={"Retry-After": "10"})
        if sum(self._running.values()) >= self._total:
            words = "Too many of these are under way at this moment. Try again."
            raise Problem(503, words, headers={"Retry-After": "10"})
        self._running[caller] = mine + 1
        try:
            yield
        finally:
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]


class _Sink(io.RawIOBase):
    """What a ZIP is written into: it cannot be sought in, and gives away what has come."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        """Nothing else can be done with it."""
        return True

    def write(self, data: Any, /) -> int:
        """Keep a copy."""
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


class Archive:
    """A ZIP that is made while it is handed out."""

    def __init__(self, store: ObjectStore) -> None:
        """`store` has the objects."""
        self._store = store
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(cast("io.BufferedIOBase", self._sink), "w", zipfile.ZIP_DEFLATED)
        self._directory: FileSetDirectory | None = None
        self.files = 0
        """That have been handed out whole."""

    async def pieces(self, pages: AsyncIterator[list[Lying]]) -> AsyncGenerator[bytes, None]:
        """The archive of all instances that the pages name.

        Raises:
            Broken: an object is gone, or is not what it should be.
            StoreError: the store failed.
        """
        # half a second of imports, for those who download only
        from imex.dicom.fileset import FileSetDirectory

        self._directory = FileSetDirectory()
        try:
            async for page in pages:
                for lying in page:
                    if lying.instance.size <= WHOLE_BYTES:
                        content = await load(self._store, lying.object_key)
                        yield await asyncio.to_thread(self._add_whole, lying, content)
                    else:
                        async with aclosing(self._add_large(lying)) as large:
                            async for piece in large:
                                yield piece
                    self.files += 1
            yield await asyncio.to_thread(self._end)
        finally:
            self._zip.close()  # one that was broken off writes its end to nobody

    def _add_whole(self, lying: Lying, content: memoryview) -> bytes:
        data_set = checked(content, lying.instance.digest)
        name = self._recorded(lying, data_set)
        with self._zip.open(_entry(name, lying.instance.at, len(content)), "w") as target:
            target.write(content)
        return self._sink.take()

    async def _add_large(self, lying: Lying) -> AsyncGenerator[bytes, None]:
        async with aclosing(whole_pieces(self._store, lying.object_key, lying.instance.digest)) as coming:
            first = bytearray()
            async for piece in coming:
                first += piece
                if len(first) >= _HEAD_BYTES:
                    break
            head = bytes(first[dataset_offset(first) :])
            name = await asyncio.to_thread(self._recorded, lying, head)
            size = lying.instance.size + _META_BYTES
            info = _entry(name, lying.instance.at, size)
            with self._zip.open(info, "w", force_zip64=size >= _ZIP64_FROM) as target:
                await asyncio.to_thread(target.write, first)
                yield self._sink.take()
                async for piece in coming:
                    await asyncio.to_thread(target.write, piece)
                    yield self._sink.take()

    def _recorded(self, lying: Lying, head: bytes | memoryview) -> str:
        """The name of a file in the archive, once it stands in the directory."""
        from imex.dicom.fileset import read_head

        assert self._directory is not None
        one = lying.instance
        facts = read_head(head, one.transfer_syntax)
        file_id = self._directory.next_file_id(facts)
        self._directory.add(facts, file_id, one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax)
        return "/".join(file_id)

    def _end(self) -> bytes:
        assert self._directory is not None
        with self._zip.open(_entry("DICOMDIR", datetime.now().astimezone(), 0), "w") as target:
            for piece in self._directory.encode(f"2.25.{uuid4().int}"):
                target.write(piece)
        self._zip.close()
        return self._sink.take()


def _entry(name: str, at: datetime, size: int) -> zipfile.ZipInfo:
    """A file of the archive. Deflated at level 0: see docs/adr/0033."""
    info = zipfile.ZipInfo(name, at.timetuple()[:6])
    info.compress_type = zipfile.ZIP_DEFLATED
    setattr(info, "_compresslevel", 0)  # noqa: B010  public from Python 3.13 on
    info.file_size = size
    return info


def checked(content: memoryview, digest: str) -> memoryview:
    """The data set of a file that was read whole. Raises Broken where it is not what it should be."""
    try:
        data_set = content[dataset_offset(content) :]
    except ValueError:
        raise Broken("an image in the store is damaged") from None
    if "sha256:" + hashlib.sha256(data_set).hexdigest() != digest:
        raise Broken("an image in the store does not match its digest")
    return data_set


async def load(store: ObjectStore, object_key: str) -> memoryview:
    """A file as it is stored, not compared with anything yet. Raises Gone, and what else the store raises."""
    try:
        return await store.load(object_key)
    except ObjectNotFound:
        raise Gone("an image is not in the store any more") from None


async def whole_pieces(store: ObjectStore, object_key: str, digest: str) -> AsyncGenerator[bytes, None]:
    """A file in pieces, the last of which comes only once the digest of all of it has proved right.

    Raises:
        Broken: it is gone, or not what it should be.
        StoreError: the store failed.
    """
    found = hashlib.sha256()
    start = bytearray()
    inside = False
    held = b""
    try:
        async for piece in store.stream(object_key):
            if inside:
                await asyncio.to_thread(found.update, piece)
            else:
                start += piece
                if len(start) < _META_BYTES:
                    continue  # what comes in small pieces may end within the meta information
                inside = True
                found.update(memoryview(start)[dataset_offset(start) :])
                piece = bytes(start)  # noqa: PLW2901  what has come so far goes as one
            if held:
                yield held
            held = piece
        if not inside:
            found.update(memoryview(start)[dataset_offset(start) :])
            held = bytes(start)
    except ObjectNotFound:
        raise Gone("an image is not in the store any more") from None
    except ValueError:
        raise Broken("an image in the store is damaged") from None
    if "sha256:" + found.hexdigest() != digest:
        raise Broken("an image in the store does not match its digest")
    yield held


def file_name(share: UUID) -> str:
    """Of the archive of a share: nothing in it tells whose study it is."""
    return f"imex-{share}.zip"


async def joined(first: Piece, rest: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
    """The first piece, which was read before to see whether there is one, and the rest; closes the rest."""
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece
