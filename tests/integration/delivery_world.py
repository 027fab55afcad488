"""Delivery over a real PostgreSQL: manifests handed in as routing would, and the worker that carries them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import Row, Table, select
from sqlalchemy.schema import CreateSchema

from imex.db import Database
from imex.db.tables import delivery as tables
from imex.delivery.attempt import Means
from imex.delivery.carrying import Carrying
from imex.delivery.changing.changer import Changers
from imex.delivery.changing.keys import Keys
from imex.delivery.changing.ledger import Ledger
from imex.delivery.confirming.commitment import Commitments, Patience
from imex.delivery.confirming.confirm import Confirming
from imex.delivery.confirming.dimse import AskLimits, Nodes
from imex.delivery.confirming.ledger import Ledger as ConfirmingLedger
from imex.delivery.controls import steer_destination
from imex.delivery.conversion import Converter
from imex.delivery.decide import PoolLimits
from imex.delivery.endings import Endings
from imex.delivery.handler import apply
from imex.delivery.leases import Leases
from imex.delivery.meters import Meters
from imex.delivery.pace import Rates
from imex.delivery.payloads import ReadAhead, Reader
from imex.delivery.receipt import Signer
from imex.delivery.refusals import Refusals
from imex.delivery.repository import Repository
from imex.delivery.targets.associations import Associations
from imex.delivery.targets.dicom import DicomTarget
from imex.delivery.targets.dicomweb.qido import DicomwebAsker
from imex.delivery.targets.dicomweb.target import DicomwebTarget
from imex.delivery.targets.dicomweb.tokens import Tokens
from imex.delivery.targets.dicomweb.web import Web, WebLimits
from imex.delivery.targets.hl7 import Hl7Target
from imex.delivery.targets.inbox import InboxTarget
from imex.delivery.transcoding.transcoder import Transcoder
from imex.delivery.wake import Arrivals, Bell
from imex.delivery.worker import Pace, Worker
from imex.dimse import Limits
from imex.directory import Directory, DirectoryIndex
from imex.events import Event, Priority, decode, ids
from imex.events.commands import (
    DeliveryCommanded,
    DeliveryCommandedData,
    DestinationCommanded,
    DestinationCommandedData,
)
from imex.events.manifests import (
    ManifestClosed,
    ManifestClosedData,
    ManifestInstance,
    ManifestIssued,
    ManifestIssuedData,
    ManifestWithdrawn,
    ManifestWithdrawnData,
)
from imex.local.ports import free_ports
from imex.local.programs import dcmtk
from imex.observability.metrics import Metrics
from imex.observability.traces import Traces
from imex.sealing import Sealer
from imex.settings import TracesSettings
from imex.storage import ObjectStore
from imex.testing.dicom import SyntheticInstance, new_uid
from imex.testing.storage import MemoryStore

SEED = bytes(range(32))
SOURCE = "RQM"
T = TypeVar("T")


@dataclass
class Asking:
    """How destinations are asked. Seconds."""

    patience_s: float = 0.0
    patience: Patience = field(default_factory=lambda: Patience(2.0, 5.0))
    listens: bool = True
    secrets: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Waits:
    """How long destinations are waited for, and how long a rejection is remembered. Seconds."""

    associate_s: float = 2.0
    response_s: float = 5.0
    rejections_s: float = 20.0


@dataclass
class Passage:
    """One delivery, as routing knows it."""

    recipient: str
    study_uid: str = field(default_factory=new_uid)
    priority: Priority = "routine"
    parts: int = 0
    instances: int = 0
    revision: int = 0
    source: str = SOURCE
    agreement: str | None = None
    endpoint: str = "pacs"

    @property
    def share(self) -> UUID:
        """The share's id."""
        return ids.share_id(self.source, self.study_uid, self.recipient, "direct-care", 1)

    @property
    def id(self) -> UUID:
        """The delivery's id."""
        return ids.delivery_id(self.share, self.endpoint)

    def about(self) -> dict[str, Any]:
        """What every event about it says."""
        return {
            "source": self.source,
            "study_uid": self.study_uid,
            "delivery": self.id,
            "share": self.share,
            "recipient": self.recipient,
            "endpoint": self.endpoint,
            "lane": "express" if self.priority == "emergency" else "bulk",
        }


class World:
    """A database with delivery's schema, a store, a directory, and what is wanted of them."""

    def __init__(self, database: Database, store: ObjectStore | None = None) -> None:
        self.database = database
        self.store: ObjectStore = store or MemoryStore()
        self.bell = Bell()
        self.arrivals = Arrivals(self.bell)
        self.traces = Traces("delivery", TracesSettings())
        self.signer = Signer(SEED)
        self._institutions: dict[str, dict[str, Any]] = {}
        self._agreements: list[dict[str, Any]] = []
        self.directory: DirectoryIndex | None = None

    def endpoint(self, recipient: str, port: int, **facts: Any) -> None:
        """Make the directory know a DICOM node (or another endpoint) of a recipient."""
        node = {"type": "dicom", "ae_title": f"{recipient}_PACS", "host": "127.0.0.1", "port": port}
        self._institutions[recipient] = {
            "code": recipient,
            "name": f"Hospital {recipient}",
            "kind": "nhs",
            "endpoints": [{"name": "pacs", **(facts if facts.get("type") else node | facts)}],
        }
        self._apply()

    def another_endpoint(self, recipient: str, name: str, port: int) -> None:
        """A second DICOM node of a recipient."""
        node = {"name": name, "type": "dicom", "ae_title": f"{recipient}_{name.upper()}", "host": "127.0.0.1"}
        self._institutions[recipient]["endpoints"].append({**node, "port": port})
        self._apply()

    def agreements(self, *agreements: dict[str, Any]) -> None:
        """Make the directory know these agreements, and no others."""
        self._agreements = [{"legal_basis": "research", **one} for one in agreements]
        self._apply()

    def _apply(self) -> None:
        document = {"institutions": list(self._institutions.values()), "agreements": self._agreements}
        self.directory = DirectoryIndex(Directory.model_validate(document))

    def changers(self) -> Changers:
        """What changes payloads on the way out."""
        ledger = Ledger(self.database)
        keys = {"k1": bytes(range(1, 33))}
        return Changers(ledger, Sealer(keys, "k1"), Keys(ledger, keys, "k1"))

    def worker(
        self,
        instance: str = "one",
        *,
        read_ahead: ReadAhead | None = None,
        idle_s: float = 0.0,
        refusals_s: float = 3600.0,
        tls: Callable[[], ssl.SSLContext] | None = None,
        asking: Asking | None = None,
        waits: Waits | None = None,
        **pace: Any,
    ) -> Worker:
        """A worker that has not started."""
        meters = Meters(Metrics("delivery"))
        asking, waits = asking or Asking(), waits or Waits()
        limits = Limits(connect_s=2.0, associate_s=waits.associate_s, response_s=waits.response_s)
        web_limits = WebLimits(connect_s=2.0, stalled_s=waits.response_s, response_s=waits.response_s)
        self.web = web = Web(tls, web_limits)
        tokens = Tokens(web, asking.secrets.get)
        nodes = Nodes("IMEX", AskLimits(2.0, waits.response_s), tls)
        self.commitments = Commitments(
            self.database, nodes, asking.patience, heard=self.bell.ring, listens=asking.listens
        )
        carrying = Carrying(
            Endings(self.database, self.signer, idle_s),
            Means(
                Repository(self.database),
                Refusals(self.database, refusals_s, waits.rejections_s),
                Reader(self.store, read_ahead or ReadAhead()),
                self.arrivals,
                Rates(),
                meters,
                linger_s=1.0,
            ),
            {
                "dicom": DicomTarget(
                    "IMEX",
                    limits,
                    associations=Associations(idle_s, 8),
                    tls=tls,
                    converter=Converter(transcoder=Transcoder()),
                ),
                "dicomweb": DicomwebTarget(web, tokens),
                "inbox": InboxTarget(self.store),
                "hl7": Hl7Target(answer_s=2.0),
            },
            lambda: self.directory,
            self.traces,
            changers=self.changers(),
            confirming=Confirming(
                ConfirmingLedger(self.database),
                {"dicom": nodes, "dicomweb": DicomwebAsker(web, tokens)},
                self.commitments,
                patience_s=asking.patience_s,
            ),
        )
        return Worker(
            Leases(self.database, instance, timedelta(seconds=pace.get("lease_s", 12.0))),
            carrying,
            lambda: self.directory,
            bell=self.bell,
            meters=meters,
            pace=Pace(**{"pool": PoolLimits(8, 2, 6), "poll_s": 0.05, **pace}),
        )

    @asynccontextmanager
    async def working(self, instance: str = "one", **knobs: Any) -> AsyncIterator[Worker]:
        """A worker that runs while the block does."""
        worker = self.worker(instance, **knobs)
        await worker.start()
        try:
            yield worker
        finally:
            await worker.stop()
            await self.web.close()

    async def hand_in(self, *events: Event[Any]) -> None:
        """What the consumers do with records."""
        async with self.database.unit() as unit:
            await apply(events, unit, self.arrivals)

    async def issue(
        self, passage: Passage, instances: Sequence[SyntheticInstance], *, close: bool = True
    ) -> None:
        """Store payloads and hand in a part of the manifest, and its end where `close` says so."""
        await self.hand_in(*await self.listed(passage, instances, close=close))

    async def listed(
        self, passage: Passage, instances: Sequence[SyntheticInstance], *, close: bool = True
    ) -> list[Event[Any]]:
        """Store payloads; the events with which routing would list them."""
        passage.parts += 1
        passage.instances += len(instances)
        listed = []
        for one in instances:
            key = f"{SOURCE}/2026-04-01/{uuid4()}"
            await self.store.put(key, one.file())
            listed.append(
                ManifestInstance(
                    sop_instance_uid=one.sop_instance_uid,
                    sop_class_uid=one.sop_class_uid,
                    transfer_syntax=one.transfer_syntax,
                    object_key=key,
                    size=len(one.dataset),
                    digest=one.digest,
                )
            )
        issued = ManifestIssued.of(
            id=uuid4(),
            subject=str(passage.id),
            data=ManifestIssuedData(
                **passage.about(),
                part=passage.parts,
                priority=passage.priority,
                directory_version="0" * 64,
                agreement=passage.agreement,
                instances=tuple(listed),
            ),
        )
        return [issued, self.closing(passage)] if close else [issued]

    def closing(self, passage: Passage) -> ManifestClosed:
        """The end of a manifest, in its next revision."""
        passage.revision += 1
        return ManifestClosed.of(
            id=uuid4(),
            subject=str(passage.id),
            data=ManifestClosedData(
                **passage.about(),
                revision=passage.revision,
                parts=passage.parts,
                instances=passage.instances,
            ),
        )

    def withdrawal(self, passage: Passage) -> ManifestWithdrawn:
        """Routing withdraws the delivery."""
        return ManifestWithdrawn.of(
            id=uuid4(),
            subject=str(passage.id),
            data=ManifestWithdrawnData(**passage.about(), reason="the share was revoked"),
        )

    def command(self, passage: Passage, command: Any, endpoint: str | None = None) -> DeliveryCommanded:
        """A person's wish."""
        return DeliveryCommanded.of(
            id=uuid4(),
            subject=str(passage.id),
            data=DeliveryCommandedData(
                source=SOURCE,
                study_uid=passage.study_uid,
                command=command,
                delivery=passage.id,
                reason="asked for",
                endpoint=endpoint,
                actor="sam",
            ),
        )

    async def steer(self, recipient: str, command: Any) -> None:
        """A person's wish about a whole destination is carried out."""
        event = DestinationCommanded.of(
            id=uuid4(),
            subject=f"{recipient}/pacs",
            data=DestinationCommandedData(
                command=command, recipient=recipient, endpoint="pacs", reason="maintenance", actor="kim"
            ),
        )
        async with self.database.unit() as unit:
            await steer_destination(unit, event)
        self.bell.ring()

    async def destination(self, recipient: str) -> Row[Any]:
        """The row of a destination."""
        async with self.database.unit() as unit:
            found = await unit.connection.execute(
                select(tables.destinations).where(tables.destinations.c.recipient == recipient)
            )
            return found.one()

    async def row(self, passage: Passage) -> Row[Any]:
        """The delivery."""
        async with self.database.unit() as unit:
            found = await unit.connection.execute(
                select(tables.deliveries).where(tables.deliveries.c.id == passage.id)
            )
            return found.one()

    async def instances(self, passage: Passage) -> dict[str, Row[Any]]:
        """Its instances by UID."""
        async with self.database.unit() as unit:
            rows = await unit.connection.execute(
                select(tables.instances).where(tables.instances.c.delivery == passage.id)
            )
            return {row.sop_instance_uid: row for row in rows}

    async def rows_of(self, table: Table) -> list[Row[Any]]:
        """All rows of a table."""
        async with self.database.look() as connection:
            return list(await connection.execute(select(table)))

    async def receipts(self, passage: Passage) -> list[Row[Any]]:
        """Its receipts, the oldest first."""
        async with self.database.unit() as unit:
            rows = await unit.connection.execute(
                select(tables.receipts)
                .where(tables.receipts.c.delivery == passage.id)
                .order_by(tables.receipts.c.revision)
            )
            return list(rows)

    async def events(self, *types: type[Event[Any]]) -> list[Any]:
        """What waits in the outbox, in order."""
        outbox = self.database.common.outbox
        async with self.database.unit() as unit:
            rows = await unit.connection.execute(select(outbox.c.value).order_by(outbox.c.seq))
            decoded = [decode(bytes(row.value)) for row in rows]
        return [event for event in decoded if not types or isinstance(event, types)]

    async def until_outcome(self, passage: Passage, outcome: str, seconds: float = 15.0) -> Row[Any]:
        """Wait until the delivery has ended so."""
        return await until(lambda: self.row(passage), lambda row: row.outcome == outcome, seconds)

    async def until_failing(self, passage: Passage) -> Row[Any]:
        """Wait until an attempt has failed."""
        return await until(lambda: self.row(passage), lambda row: row.failures >= 1)


async def until(look: Callable[[], Awaitable[T]], good: Callable[[T], bool], seconds: float = 15.0) -> T:
    """Look until it is good; the last thing seen is in the error."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not good(seen := await look()):
        assert asyncio.get_running_loop().time() < deadline, f"still {seen}"
        await asyncio.sleep(0.02)
    return seen


@asynccontextmanager
async def delivery_world(database_url: str, store: ObjectStore | None = None) -> AsyncIterator[World]:
    """A new database with delivery's tables."""
    database = Database(database_url, "delivery")
    async with database.engine.begin() as connection:
        await connection.execute(CreateSchema("delivery"))
        await connection.run_sync(tables.metadata.create_all)
    yield World(database, store)
    await database.close()


def uids(instances: Iterable[SyntheticInstance]) -> set[str]:
    """SOP Instance UIDs."""
    return {one.sop_instance_uid for one in instances}


@asynccontextmanager
async def storescp(directory: Path, *options: str, port: int = 0) -> AsyncIterator[int]:
    """DCMTK's receiver, writing what it gets into `directory` as it came; yields its port."""
    port = port or free_ports(1)[0]
    process = await asyncio.create_subprocess_exec(
        *(str(dcmtk("storescp")), *options, "--bit-preserving", "-od", str(directory), str(port)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: _listens(port), bool)
        yield port
    finally:
        process.kill()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
