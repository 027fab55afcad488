"""A DICOM acceptor's user in memory: takes everything, or what a test tells it, and remembers it."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pydicom.filereader

from imex.dimse import (
    Accept,
    Acceptor,
    AssociationRequest,
    Ended,
    Limits,
    Refused,
    Reject,
    StoreCommand,
    StoreResponse,
    StoreSink,
    serve,
)
from imex.dimse.service import FailedStage


@dataclass
class StoredInstance:
    """What one C-STORE brought; the data set itself only where the recorder keeps it."""

    command: StoreCommand
    data: bytearray = field(default_factory=bytearray)
    length: int = 0
    sha256: str = ""


@dataclass
class DimseRecorder:
    """Policy, handler and sinks in one; the hooks make it refuse, fail or be slow."""

    keep: bool = True
    on_admit: Callable[[AssociationRequest], Reject | None] = lambda _: None
    on_store: Callable[[StoreCommand], StoreResponse | None] = lambda _: None
    on_write: Callable[[StoreCommand], Awaitable[None]] | None = None
    on_commit: Callable[[StoreCommand], Awaitable[StoreResponse]] | None = None
    requests: list[AssociationRequest] = field(default_factory=list)
    commands: list[StoreCommand] = field(default_factory=list)
    stored: dict[str, StoredInstance] = field(default_factory=dict)
    aborted: list[str] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def admit(self, request: AssociationRequest) -> Accept | Reject:
        """Accept unless `on_admit` rejects."""
        self.requests.append(request)
        self.changed.set()
        return self.on_admit(request) or Accept(_Handler(self))

    async def wait(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until what was recorded makes `condition` true. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class _Handler:
    def __init__(self, recorder: DimseRecorder) -> None:
        self._recorder = recorder

    async def store(self, command: StoreCommand) -> StoreSink:
        self._recorder.commands.append(command)
        self._recorder.changed.set()
        refusal = self._recorder.on_store(command)
        if refusal is not None:
            raise Refused(refusal.status, refusal.comment)
        return _Sink(self._recorder, command)

    async def echo(self) -> int:
        return 0

    async def ended(self, outcome: Ended) -> None:
        self._recorder.ended.append(outcome)
        self._recorder.changed.set()


class _Sink:
    def __init__(self, recorder: DimseRecorder, command: StoreCommand) -> None:
        self._recorder = recorder
        self._instance = StoredInstance(command)
        self._digest = hashlib.sha256() if recorder.keep else None

    async def write(self, chunk: memoryview | bytes) -> None:
        if self._recorder.on_write is not None:
            await self._recorder.on_write(self._instance.command)
        self._instance.length += len(chunk)
        if self._digest is not None:
            self._instance.data += chunk
            self._digest.update(chunk)

    async def commit(self) -> StoreResponse:
        command = self._instance.command
        response = StoreResponse()
        if self._recorder.on_commit is not None:
            response = await self._recorder.on_commit(command)
        if self._digest is not None:
            self._instance.sha256 = self._digest.hexdigest()
        self._recorder.stored[command.sop_instance_uid] = self._instance
        self._recorder.changed.set()
        return response

    async def abort(self) -> None:
        self._recorder.aborted.append(self._instance.command.sop_instance_uid)
        self._recorder.changed.set()


@contextlib.asynccontextmanager
async def acceptor(
    recorder: DimseRecorder, limits: Limits | None = None, port: int = 0
) -> AsyncIterator[Acceptor]:
    """An acceptor on the loopback interface, on a free port where none is given; closed at the end."""
    listening = await serve("127.0.0.1", port, recorder, limits)
    try:
        yield listening
    finally:
        await listening.close()


@dataclass(frozen=True)
class Instance:
    """A DICOM file as it is sent: its data set's bytes, and what has to be said about them."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    data: bytes

    async def chunks(self, size: int = 64 * 1024) -> AsyncIterator[memoryview]:
        """The data set, `size` bytes at a time."""
        view = memoryview(self.data)
        for start in range(0, len(view), size):
            yield view[start : start + size]


def read_instance(path: Path) -> Instance:
    """Read a file with complete meta information (PS3.10 7.1)."""
    with path.open("rb") as file:
        meta = pydicom.filereader.read_file_meta_info(path)
        file.seek(128 + 4 + 12 + meta.FileMetaInformationGroupLength)
        return Instance(
            meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID, file.read()
        )


class Failures:
    """What the acceptor says of connections that came to nothing."""

    def __init__(self) -> None:
        """Nothing has failed; `seen`: who, at which stage, in which words."""
        self.seen: list[tuple[str, FailedStage, str]] = []

    def rejected(self, request: AssociationRequest, reject: Reject) -> None:
        """Not asked for here."""

    def failed(self, peer_host: str, words: str, stage: FailedStage) -> None:
        """A connection ended early."""
        self.seen.append((peer_host, stage, words))
