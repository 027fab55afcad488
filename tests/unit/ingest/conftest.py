"""Ingest in a world of fakes: a store in memory, a broker that remembers, a small directory."""

import asyncio
import io
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pydicom
import pytest
from pydicom.dataset import Dataset
from uuid_utils.compat import uuid7

from imex.dimse import Accept, AssociationRequest, Reject, StoreCommand, StoreResponse
from imex.directory import DirectoryIndex, parse
from imex.events import Event, Identity, Lane, Sealed
from imex.events.audit import AuditRecordedData
from imex.events.instances import AssociationEndedData, InstanceReceivedData
from imex.ingest.budget import Budget
from imex.ingest.company import Company
from imex.ingest.handler import IngestPolicy
from imex.ingest.lanes import LaneMemory
from imex.ingest.limits.bounds import Bounds, BoundsTable
from imex.ingest.limits.limiter import Overfull
from imex.ingest.meters import LimitMeters, Meters
from imex.ingest.ports import MIB, Surroundings, Tuning
from imex.ingest.traffic import Traffic
from imex.observability.metrics import Metrics
from imex.testing.storage import MemoryStore

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DIRECTORY = """
institutions:
  - {code: RQM, name: Hospital A, kind: nhs, senders: [{ae_title: RQM_PACS}]}
  - {code: RT3, name: Hospital B, kind: nhs, senders: [{ae_title: RT3_PACS, networks: [10.0.0.0/8]}]}
  - {code: RX1, name: Hospital C, kind: nhs}
groups:
  - {code: NET, name: Network, members: [RQM, RT3]}
agreements:
  - {id: a1, from: RQM, to: RT3, purposes: [direct-care], legal_basis: "UK GDPR 6(1)(e)"}
rules:
  - {id: r1, match: {source: RQM, modality: MR}, to: [RT3], priority: emergency}
"""


@dataclass
class Broker:
    """Remembers what was published, in order, and fails when told to."""

    published: list[Event[Any]] = field(default_factory=list)
    failure: Exception | None = None
    delay_s: float = 0.0

    async def send(self, event: Event[Any]) -> None:
        await asyncio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure
        self.published.append(event)


@dataclass
class LaterFake:
    """Publishes at once into the same list, so that order can be looked at; runs chores when asked."""

    broker: Broker
    chores: list[Coroutine[Any, Any, None]] = field(default_factory=list)

    def offer(self, event: Event[Any]) -> None:
        self.broker.published.append(event)

    def spawn(self, chore: Coroutine[Any, Any, None]) -> None:
        self.chores.append(chore)

    async def run_chores(self) -> None:
        while self.chores:
            await self.chores.pop()


@dataclass
class SpanFake:
    traceparent: str
    ended: dict[str, Any] | None = None

    def end(self, *, received: int, refused: int, outcome: str) -> None:
        self.ended = {"received": received, "refused": refused, "outcome": outcome}


@dataclass
class SpansFake:
    begun: dict[str, SpanFake] = field(default_factory=dict)

    def association(self, source: str, study_uid: str, association: UUID, started_at: datetime) -> SpanFake:
        return self.begun.setdefault(study_uid, SpanFake(f"00-{'a' * 32}-{len(self.begun) + 1:016x}-01"))


@dataclass
class World:
    """The fakes, the policy over them, and short ways to use it."""

    store: MemoryStore
    broker: Broker
    later: LaterFake
    spans: SpansFake
    around: Surroundings
    directory: list[DirectoryIndex | None]
    memory: Budget
    doors: "DoorsFake"
    fill: "FillFake"
    metrics: Metrics

    async def connect(
        self,
        calling_ae: str = "RQM_PACS",
        called_ae: str = "IMEX",
        peer_host: str = "127.0.0.1",
        certificate: bytes | None = None,
    ) -> Accept | Reject:
        request = AssociationRequest(calling_ae, called_ae, peer_host, 4711, (), peer_certificate=certificate)
        return await IngestPolicy(self.around).admit(request)

    async def handler(self, called_ae: str = "IMEX", calling_ae: str = "RQM_PACS") -> Any:
        accept = await self.connect(calling_ae, called_ae)
        assert isinstance(accept, Accept)
        return accept.handler

    async def send(
        self,
        handler: Any,
        data: bytes,
        sop_instance: str = "1.2.3.1",
        *,
        syntax: str = EXPLICIT,
        step: int = 1000,
    ) -> StoreResponse:
        sink = await handler.store(StoreCommand(1, CT, sop_instance, syntax))
        if isinstance(sink, StoreResponse):
            return sink
        for start in range(0, len(data), step):
            await sink.write(memoryview(data)[start : start + step])
        response = await sink.commit()
        assert isinstance(response, StoreResponse)
        return response

    def said(self, kind: type[Any]) -> list[Any]:
        return [event.data for event in self.broker.published if isinstance(event.data, kind)]

    @property
    def received(self) -> list[InstanceReceivedData]:
        return self.said(InstanceReceivedData)

    @property
    def ends(self) -> list[AssociationEndedData]:
        return self.said(AssociationEndedData)

    @property
    def audits(self) -> list[AuditRecordedData]:
        return self.said(AuditRecordedData)


def seal(identity: Identity, key: str) -> Sealed:
    return Sealed(key_id="k", nonce=key, ciphertext=identity.model_dump_json())


class DoorsFake:
    """Lets everybody in, up to a number."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.full = "everybody"
        self.inside = 0

    async def enter(self, institution: str) -> Callable[[], None]:
        if self.room is not None and self.inside >= self.room:
            raise Overfull(self.full)
        self.inside += 1

        def leave() -> None:
            self.inside -= 1

        return leave


class FillFake:
    """Refuses lanes as told."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}

    def refusal(self, lane: Lane) -> str | None:
        return self.refused.get(lane)


def make_world(tuning: Tuning | None = None, budget: int = 64 * MIB) -> World:
    store, broker = MemoryStore(), Broker()
    later, spans = LaterFake(broker), SpansFake()
    directory: list[DirectoryIndex | None] = [DirectoryIndex(parse(DIRECTORY))]
    tuning, doors, fill, metrics = tuning or Tuning(), DoorsFake(), FillFake(), Metrics("ingest")
    bounds = BoundsTable(Bounds(), Bounds(), lambda: directory[0])
    memory = Budget(budget, 2 * tuning.single_put_bytes)
    around = Surroundings(
        company=Company(0.001),
        own_ae_title="IMEX",
        directory=lambda: directory[0],
        store=store,
        publish=broker.send,
        background=later,
        seal=seal,
        spans=spans,
        meters=Meters(metrics),
        lanes=LaneMemory(),
        traffic=Traffic(memory, bounds, tuning.budget_wait_s),
        doors=doors,
        fill=fill,
        limit_meters=LimitMeters(metrics),
        now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        new_id=lambda: UUID(int=uuid7().int),
        tuning=tuning,
    )
    return World(store, broker, later, spans, around, directory, memory, doors, fill, metrics)


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def new_world() -> Callable[..., World]:
    return make_world


@pytest.fixture
def dataset() -> Callable[..., bytes]:
    return make_dataset


def make_dataset(sop_instance: str = "1.2.3.1", study: str | None = "1.2.3", **changes: Any) -> bytes:
    ds = Dataset()
    ds.SOPClassUID = CT
    ds.SOPInstanceUID = sop_instance
    if study is not None:
        ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = "1.2.3.9"
    ds.Modality = "CT"
    ds.PatientName = "Doe^Jane"
    ds.PatientID = "9434765919"
    ds.IssuerOfPatientID = "NHS"
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.SamplesPerPixel = 16, 16, 16, 1
    ds.PixelData = bytes(512)
    for name, value in changes.items():
        setattr(ds, name, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
    return buffer.getvalue()
