"""A world for routing's tests: its handlers over a real database, and events as the others would say them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import MetaData, select
from sqlalchemy.schema import CreateSchema

from imex.db import Database
from imex.db.tables import routing as tables
from imex.directory import DirectoryIndex, parse
from imex.events import Event, Identity, decode, ids
from imex.events.commands import MarkCommanded, MarkCommandedData, ShareCommanded, ShareCommandedData
from imex.events.deliveries import (
    DeliveryAttempted,
    DeliveryAttemptedData,
    DeliveryCompleted,
    DeliveryCompletedData,
    DeliveryEnded,
    DeliveryEndedData,
    DeliveryProgressed,
    DeliveryProgressedData,
    DeliverySteered,
    DeliverySteeredData,
    InstanceOutcome,
)
from imex.events.manifests import ManifestInstance, ManifestIssued, ManifestIssuedData
from imex.events.sealed import Sealed, SealedPerson, SealedWanted
from imex.events.validations import (
    AssociationValidated,
    AssociationValidatedData,
    Finding,
    InstanceDiscarded,
    InstanceDiscardedData,
    InstanceDuplicated,
    InstanceDuplicatedData,
    InstanceQuarantined,
    InstanceQuarantinedData,
    InstanceValidated,
    InstanceValidatedData,
)
from imex.observability.traces import Traces
from imex.routing.closer import Closer
from imex.routing.intake import Intake
from imex.routing.orders import Orders
from imex.routing.outcomes import Outcomes
from imex.routing.priors import PriorsLoop
from imex.routing.retrievals import Answering
from imex.routing.revocation import Revocation
from imex.routing.surroundings import Surroundings
from imex.routing.sweeper import Sweeper
from imex.runtime import Handler, Message, RawRecord
from imex.settings import TracesSettings

TOPIC, PARTITION = "validations.bulk", 3
QUIET_S, GRACE_S = 60.0, 90.0

HOSPITALS = """
institutions:
  - {code: RQM, name: Hospital A, kind: nhs, senders: [{ae_title: RQM_PACS}]}
  - code: RT3
    name: Hospital B
    kind: nhs
    endpoints: [{name: pacs, type: dicom, ae_title: RT3_PACS, host: 127.0.0.1, port: 4243}]
  - code: RW6
    name: Hospital C
    kind: nhs
    endpoints: [{name: pacs, type: dicom, ae_title: RW6_PACS, host: 127.0.0.1, port: 4244}]
  - code: INB
    name: Reporting desk
    kind: teleradiology
    endpoints: [{name: desk, type: inbox, acceptance: "true"}]
groups:
  - {code: NET, name: Network, members: [RQM, RT3, RW6]}
"""
AGREED = """
agreements:
  - {id: a1, from: RQM, to: [RT3, RW6, INB], purposes: [direct-care, mdt], legal_basis: "UK GDPR 6(1)(e)"}
"""
TO_B = """
rules:
  - {id: r1, match: {source: RQM, modality: CT}, to: [RT3]}
"""


DELIVERY = ("source", "study_uid", "delivery", "share", "recipient", "endpoint", "lane")
"""What every fact of a delivery says."""


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, seconds: float) -> None:
        """Let time go by."""
        self.now += timedelta(seconds=seconds)


class Snapshot:
    """The directory feed's place."""

    def __init__(self, text: str) -> None:
        self.index = DirectoryIndex(parse(text))

    def current(self) -> DirectoryIndex:
        """The version in force."""
        return self.index

    async def wait_for(self, version: str) -> None:
        """It is always there."""

    def apply(self, text: str) -> None:
        """Another version holds."""
        self.index = DirectoryIndex(parse(text))


@dataclass
class Reader:
    """How far the partition has been read, as the test says; None: through the clock's now."""

    clock: Clock
    through: datetime | None = None

    def partitions(self) -> set[tuple[str, int]]:
        return {(TOPIC, PARTITION)}

    def read_through(self, topic: str, partition: int) -> datetime | None:
        return self.through or self.clock.now


def opened(sealed: Sealed, object_key: str) -> Identity:
    """Identity of a synthetic study: of everybody's patient, or of who is named in the ciphertext."""
    assert object_key
    number = sealed.ciphertext or NHS_NUMBER
    issuer = "NHS" if number == NHS_NUMBER else "RQM"
    return Identity(patient_id=number, issuer=issuer, accession="ACC1", study_description="CT HEAD")


NHS_NUMBER = "9434765919"


def opened_person(sealed: Sealed, _context: bytes) -> SealedPerson:
    """Whom a command names: in this world the ciphertext says it."""
    return SealedPerson(issuer="NHS", patient_id=sealed.ciphertext)


def opened_wanted(sealed: Sealed, _context: bytes) -> SealedWanted:
    """What a request is about: in this world the ciphertext says it, as JSON."""
    return SealedWanted.model_validate_json(sealed.ciphertext)


@dataclass
class World:
    """Routing over one database."""

    database: Database
    around: Surroundings
    clock: Clock
    directories: Snapshot
    reader: Reader
    intake: Intake
    outcomes: Outcomes
    orders: Orders
    closer: Closer
    judged: dict[str, datetime | None]
    """Through which time validation has judged, by topic; without an entry, everything."""
    sweeper: Sweeper
    revocation: Revocation
    priors: PriorsLoop
    answering: Answering
    spans: InMemorySpanExporter
    published: list[Event[Any]] = field(default_factory=list)
    _offset: int = 0

    async def handle(self, handler: Handler, *events: Event[Any]) -> None:
        """One batch, as the runtime would hand it over: known events are filtered out."""
        messages = [self._message(event) for event in events]
        async with self.database.unit() as unit:
            new = await unit.claim(message.event.id for message in messages)
            fresh = [message for message in messages if message.event.id in new]
            unique = {message.event.id: message for message in fresh}
            if unique:
                await handler(list(unique.values()), unit)
        await self._collect()

    def _message(self, event: Event[Any]) -> Message:
        self._offset += 1
        raw = RawRecord(TOPIC, PARTITION, self._offset, 0, event.key.encode(), event.encode())
        return Message(
            TOPIC, PARTITION, self._offset, self.clock.now, event.key, event, event.traceparent, raw
        )

    async def _collect(self) -> None:
        outbox = tables.common.outbox
        async with self.database.engine.begin() as connection:
            rows = await connection.execute(select(outbox.c.value).order_by(outbox.c.seq))
            self.published += [decode(bytes(row.value)) for row in rows]
            await connection.execute(outbox.delete())

    async def validated(self, *events: Event[Any]) -> None:
        """A batch of validation's."""
        await self.handle(self.intake, *events)

    async def delivered(self, *events: Event[Any]) -> None:
        """A batch of delivery's."""
        await self.handle(self.outcomes, *events)

    async def commanded(self, *events: Event[Any]) -> None:
        """A batch of the portal's."""
        await self.handle(self.orders, *events)

    async def marked(self, *, opted_out: bool = False, sensitive: bool = False) -> None:
        """An administrator marks the record of everybody's patient."""
        data = MarkCommandedData(
            mark=uuid4(),
            person=Sealed(key_id="k", nonce="", ciphertext=NHS_NUMBER),
            opted_out=opted_out,
            sensitive=sensitive,
            actor="admin",
        )
        await self.commanded(MarkCommanded.of(id=uuid4(), subject="mark", time=self.clock.now, data=data))

    async def revoke(self) -> None:
        """Routing looks whether agreements still hold."""
        await self.revocation.turn()
        await self._collect()

    async def send_priors(self) -> None:
        """Routing looks for earlier studies that travel along."""
        await self.priors.turn()
        await self._collect()

    async def answer(self) -> None:
        """Routing looks for what has come in for requests."""
        await self.answering.turn()
        await self._collect()

    async def close(self) -> None:
        """Look at what is due."""
        while await self.closer.turn():
            pass
        await self._collect()

    async def quiet(self, seconds: float = QUIET_S + 1) -> None:
        """Nothing comes in for a while."""
        self.clock.pass_(seconds)
        await self.close()

    async def rows(self, table: Any, *order: Any) -> list[Any]:
        """A table."""
        async with self.database.engine.connect() as connection:
            return list(await connection.execute(select(table).order_by(*order)))

    async def shares(self) -> list[Any]:
        """Every share, the oldest first."""
        return await self.rows(tables.shares, tables.shares.c.created_at, tables.shares.c.recipient)

    async def share(self) -> Any:
        """The one share."""
        (share,) = await self.shares()
        return share

    async def steps(self, share: UUID | None = None) -> list[str]:
        """The words of the timeline."""
        rows = await self.rows(tables.timeline, tables.timeline.c.seq)
        return [row.step for row in rows if share in {None, row.share}]

    def said(self, *types: type[Event[Any]]) -> list[Any]:
        """What was published of some types."""
        return [event for event in self.published if isinstance(event, types)]

    def partner_words(self) -> list[str]:
        """What partners were told, in order."""
        return [
            event.type.removeprefix("imex.share.")
            for event in self.published
            if event.type.startswith("imex.share.")
        ]

    def parts(self) -> list[ManifestIssuedData]:
        """Parts of manifests, in order."""
        return [event.data for event in self.said(ManifestIssued)]

    async def confirm_all(self, *, failing: dict[str, str] | None = None) -> None:
        """The destination answers for everything issued, and delivery writes its receipt."""
        failing = failing or {}
        share = (await self.shares())[-1]
        issued = [part for part in self.parts() if part.share == share.id]
        instances = [one for part in issued for one in part.instances]
        await self.delivered(self.progressed(issued[-1], instances, failing))
        failed = sum(one.sop_instance_uid in failing for one in instances)
        await self.delivered(self.completed(issued[-1], len(instances) - failed, failed))

    def progressed(
        self, part: ManifestIssuedData, instances: Sequence[ManifestInstance], failing: dict[str, str]
    ) -> DeliveryProgressed:
        """Outcomes of instances."""
        return DeliveryProgressed.of(
            id=uuid4(),
            subject="delivery",
            time=self.clock.now,
            data=DeliveryProgressedData(
                **_delivery(part),
                outcomes=tuple(
                    InstanceOutcome(
                        sop_instance_uid=one.sop_instance_uid,
                        digest=one.digest,
                        state="failed" if one.sop_instance_uid in failing else "confirmed",
                        status="0x0000",
                        reason=failing.get(one.sop_instance_uid, ""),
                        at=self.clock.now,
                    )
                    for one in instances
                ),
            ),
        )

    def completed(self, part: ManifestIssuedData, confirmed: int, failed: int = 0) -> DeliveryCompleted:
        """A receipt."""
        return DeliveryCompleted.of(
            id=uuid4(),
            subject="delivery",
            time=self.clock.now,
            data=DeliveryCompletedData(
                **_delivery(part),
                revision=1,
                confirmed=confirmed,
                failed=failed,
                receipt_digest="sha256:" + "0" * 64,
            ),
        )

    def attempted(self, part: ManifestIssuedData, number: int, reason: str) -> DeliveryAttempted:
        """A failed try."""
        return DeliveryAttempted.of(
            id=uuid4(),
            subject="delivery",
            time=self.clock.now,
            data=DeliveryAttemptedData(
                **_delivery(part),
                attempt=number,
                outcome="failed",
                reason=reason,
                started_at=self.clock.now,
                ended_at=self.clock.now,
                confirmed=0,
            ),
        )

    def steered(self, part: ManifestIssuedData, command: Any, **more: Any) -> DeliverySteered:
        """What a person had done to it."""
        data = {"reason": "new storage", "actor": "kim", "actor_institution": "RT3", **more}
        return DeliverySteered.of(
            id=uuid4(),
            subject="delivery",
            time=self.clock.now,
            data=DeliverySteeredData(**_delivery(part), command=command, **data),
        )

    def ended(self, part: ManifestIssuedData, outcome: Any, reason: str) -> DeliveryEnded:
        """A delivery given up."""
        return DeliveryEnded.of(
            id=uuid4(),
            subject="delivery",
            time=self.clock.now,
            data=DeliveryEndedData(**_delivery(part), outcome=outcome, confirmed=0, reason=reason),
        )

    def command(self, command: Any, **more: Any) -> ShareCommanded:
        """A wish about a share."""
        data = {
            "source": "RQM",
            "study_uid": "1.2.3",
            "recipient": "RT3",
            "actor": "anna",
            "actor_institution": "RQM",
            **more,
        }
        return ShareCommanded.of(
            id=uuid4(), subject="share", time=self.clock.now, data=ShareCommandedData(command=command, **data)
        )


def _delivery(part: ManifestIssuedData) -> dict[str, Any]:
    return {name: getattr(part, name) for name in DELIVERY}


@dataclass
class Sending:
    """One association of a sender, and what validation says of its instances."""

    world: World
    study_uid: str = "1.2.3"
    source: str = "RQM"
    recipient: str | None = None
    modality: str = "CT"
    association: UUID = field(default_factory=uuid4)

    def facts(self, number: int, **more: Any) -> dict[str, Any]:
        """An instance of the study by its number."""
        return {
            "source": self.source,
            "study_uid": self.study_uid,
            "series_uid": f"{self.study_uid}.1",
            "sop_instance_uid": f"{self.study_uid}.1.{number}",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
            "transfer_syntax": "1.2.840.10008.1.2.1",
            "modality": self.modality,
            "object_key": f"{self.source}/2026-03-02/{uuid4()}",
            "size": 1000,
            "digest": f"sha256:{number:064x}",
            "lane": "bulk",
            "association": self.association,
            "received_at": self.world.clock.now,
            "called_ae": self.recipient or "IMEX",
            "recipient": self.recipient,
            "directory_version": self.world.directories.index.version,
            "identity": Sealed(key_id="k", nonce="", ciphertext=""),
            **more,
        }

    def accepted(self, *numbers: int, **more: Any) -> list[InstanceValidated]:
        """Accepted instances."""
        return [
            self._event(InstanceValidated, InstanceValidatedData(**self.facts(number, **more)))
            for number in numbers
        ]

    def held(
        self, number: int, quarantine: UUID, reason: str = "bad check digit", **more: Any
    ) -> InstanceQuarantined:
        """An instance in quarantine."""
        data = InstanceQuarantinedData(
            **self.facts(number, **more),
            quarantine=quarantine,
            findings=(Finding(check="nhs_number", message=reason),),
            reason=reason,
        )
        event: InstanceQuarantined = self._event(InstanceQuarantined, data)
        return event

    def again(self, *numbers: int) -> list[InstanceDuplicated]:
        """The same bytes again."""
        return [
            self._event(InstanceDuplicated, InstanceDuplicatedData(**self.facts(number), original=uuid4()))
            for number in numbers
        ]

    def discarded(self, number: int, quarantine: UUID) -> InstanceDiscarded:
        """A person decided against an instance."""
        data = InstanceDiscardedData(
            source=self.source,
            study_uid=self.study_uid,
            sop_instance_uid=f"{self.study_uid}.1.{number}",
            lane="bulk",
            quarantine=quarantine,
            reason="wrong patient",
            actor="anna",
        )
        event: InstanceDiscarded = self._event(InstanceDiscarded, data)
        return event

    def over(self, count: int = 0) -> AssociationValidated:
        """The association's end."""
        data = AssociationValidatedData(
            source=self.source,
            study_uid=self.study_uid,
            association=self.association,
            lane="bulk",
            outcome="released",
            received=count,
            accepted=count,
            quarantined=0,
            duplicated=0,
        )
        event: AssociationValidated = self._event(AssociationValidated, data)
        return event

    def _event(self, cls: Any, data: Any) -> Any:
        return cls.of(
            id=uuid4(),
            subject="instance",
            time=self.world.clock.now,
            data=data,
            traceparent=ids.root_traceparent(self.source, self.study_uid),
        )


@asynccontextmanager
async def routing_world(database_url: str, directory: str) -> AsyncIterator[World]:
    """Routing on an empty database."""
    database = Database(database_url, "routing")
    async with database.engine.begin() as connection:
        await connection.execute(CreateSchema("routing"))
        metadata: MetaData = tables.metadata
        await connection.run_sync(metadata.create_all)
    clock, snapshot, spans = Clock(), Snapshot(directory), InMemorySpanExporter()
    traces = Traces("routing", TracesSettings(), exporter=spans)
    reader = Reader(clock)
    around = Surroundings(snapshot, traces, clock, default_quiet_s=QUIET_S, association_grace_s=GRACE_S)
    judged: dict[str, datetime | None] = {}
    everything = datetime.max.replace(tzinfo=UTC)
    closer = Closer(database, [reader], around, judged_through=lambda topic: judged.get(topic, everything))
    yield World(
        database=database,
        around=around,
        clock=clock,
        directories=snapshot,
        reader=reader,
        intake=Intake(around, opened),
        outcomes=Outcomes(around),
        orders=Orders(around, opened_person, opened_wanted),
        revocation=Revocation(database, around),
        priors=PriorsLoop(database, around),
        answering=Answering(database, around, opened_wanted),
        closer=closer,
        judged=judged,
        sweeper=Sweeper(database, around),
        spans=spans,
    )
    await database.close()
