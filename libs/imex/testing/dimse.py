"""A DICOM acceptor's user in memory: takes everything, or what a test tells it, and remembers it."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from imex.dimse import (
    Accept,
    AssociationRequest,
    Ended,
    Refused,
    Reject,
    StoreCommand,
    StoreResponse,
    StoreSink,
)


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
