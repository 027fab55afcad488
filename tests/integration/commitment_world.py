"""What the services have written of studies that a sender asks commitments of, and a port to ask on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, update
from tests.integration.portal_world import World

from imex.db.tables import delivery, directory, portal, routing, validation
from imex.dicom.commitment import Reference
from imex.directory import digest, parse
from imex.directory.document import canonical
from imex.observability.metrics import Metrics
from imex.portal.commitment.answering import Commitments, Node
from imex.portal.commitment.node import SendersNodes
from imex.portal.commitment.offering import CommitmentOffer
from imex.portal.commitment.settings import CommitmentSettings
from imex.portal.query_retrieve.listener import DicomListener
from imex.portal.query_retrieve.settings import DicomSettings
from imex.runtime.background import Background

CT = "1.2.840.10008.5.1.4.1.1.2"
EVERYTHING = datetime.max.replace(tzinfo=UTC)
DIRECTORY = """
institutions:
  - code: RQM
    name: Hospital A
    kind: nhs
    senders: [{ae_title: RQM_PACS, commitment: true}, {ae_title: RQM_CT}]
    endpoints: [{name: pacs, type: dicom, ae_title: RQM_PACS, host: 127.0.0.1, port: PORT}]
  - code: RXX
    name: Hospital C
    kind: nhs
    senders: [{ae_title: RXX_PACS, commitment: true}]
"""


@dataclass
class Written:
    """A study that came in, was shared and delivered, as the services wrote it down."""

    study_uid: str
    references: list[Reference]
    share: UUID
    delivery: UUID
    digests: list[str]


@dataclass
class Asking:
    """The portal's side of commitments over a portal's world."""

    portal: World
    settings: CommitmentSettings
    judged_through: datetime | None = EVERYTHING
    clock: timedelta = timedelta()
    commitments: Commitments = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = SendersNodes()
        self.restart()

    def restart(self) -> None:
        """Another process over the same database."""
        self.commitments = self.another(self.nodes)

    def another(self, node: Node) -> Commitments:
        """One more process, that tells by `node`."""
        return Commitments(
            self.portal.database,
            node,
            self.settings.bounds,
            Metrics("portal"),
            judged=lambda at: self.judged_through is not None and self.judged_through >= at,
            now=lambda: datetime.now(UTC) + self.clock,
        )

    async def apply(self, port: int) -> None:
        """Put a directory in force in which RQM_PACS listens on `port`."""
        made = parse(DIRECTORY.replace("PORT", str(port)))
        await self.portal.write(
            directory.versions,
            {
                "number": 1,
                "version": digest(made),
                "document": canonical(made).decode(),
                "object_key": "versions/1",
                "applied_by": "admin",
                "applied_at": datetime.now(UTC),
            },
        )

    async def study(self, slices: int = 2, *, source: str = "RQM", **how: Any) -> Written:
        """`how` changes rows: of `judgement`, `instance`, `line` (of the receipt), `share`, `delivery`."""
        world = self.portal
        study_uid = await world.study(source=source, **how.get("study", {}))
        share = await world.share(study_uid, source=source, **how.get("share", {}))
        job = await world.delivery(
            share,
            study_uid,
            **{"state": "ended", "outcome": "delivered", "source": source, **how.get("delivery", {})},
        )
        references, digests, lines = [], [], []
        for number in range(slices):
            uid, content = f"{study_uid}.{number + 1}", f"sha256:{number:064x}"
            references.append(Reference(CT, uid))
            digests.append(content)
            await self.judged(study_uid, uid, content, source=source, **how.get("judgement", {}))
            await self.handed(job, references[-1], content, **how.get("instance", {}))
            line: dict[str, Any] = {
                "sop_instance_uid": uid,
                "digest": content,
                "status": "confirmed",
                "reason": "",
                "at": "2026-03-05T14:30:00.000Z",
                "confirmed_by": "commitment",
            }
            lines.append(line | how.get("line", {}))
        await world.write(
            delivery.receipts,
            {
                "delivery": job,
                "revision": 1,
                "share": share,
                "document": {"share": str(share), "revision": 1, "instances": lines, "complete": True},
                "signature": "…",
                "digest": "sha256:0",
            },
        )
        return Written(study_uid, references, share, job, digests)

    async def handed(self, job: UUID, reference: Reference, content: str, **facts: Any) -> None:
        """An instance that was delivered and committed."""
        row: dict[str, Any] = {
            "delivery": job,
            "sop_instance_uid": reference.sop_instance_uid,
            "part": 1,
            "sop_class_uid": reference.sop_class_uid,
            "transfer_syntax": "1.2.840.10008.1.2.1",
            "object_key": f"RQM/2026-03-05/{uuid4()}",
            "size": 4711,
            "digest": content,
            "state": "confirmed",
            "confirmation": "commitment",
            "at": datetime.now(UTC),
        }
        await self.portal.write(delivery.instances, row | facts)

    async def judged(
        self, study_uid: str, uid: str, content: str, *, source: str = "RQM", **facts: Any
    ) -> None:
        """One time that an instance came in."""
        row: dict[str, Any] = {
            "event_id": uuid4(),
            "source": source,
            "study_uid": study_uid,
            "sop_instance_uid": uid,
            "digest": content,
            "object_key": f"{source}/2026-03-05/{uuid4()}",
            "association": uuid4(),
            "judgement": "accepted",
            "received_at": datetime.now(UTC),
        }
        await self.portal.write(validation.judgements, row | facts)

    async def change(self, table: Any, where: Any, **values: Any) -> None:
        """Change rows as their owner would."""
        async with self.portal.database.engine.begin() as connection:
            await connection.execute(update(table).where(where).values(**values))

    async def recalled(self, written: Written) -> None:
        """The source takes the first instance back."""
        correction = await self.portal.correction(written.study_uid, written.share)
        await self.portal.write(
            routing.corrected_instances,
            {
                "correction": correction,
                "sop_instance_uid": written.references[0].sop_instance_uid,
                "series_uid": "1.2.3",
                "sop_class_uid": CT,
            },
        )

    async def row(self, transaction_uid: str) -> Any:
        """What is kept of a question."""
        query = select(portal.commitments).where(portal.commitments.c.transaction_uid == transaction_uid)
        async with self.portal.database.engine.connect() as connection:
            return (await connection.execute(query)).one()

    async def until(self, transaction_uid: str, state: str, seconds: float = 15.0) -> Any:
        """The question once it is in that state."""
        async with asyncio.timeout(seconds):
            while (row := await self.row(transaction_uid)).state != state:  # noqa: ASYNC110  it is a table
                await asyncio.sleep(0.05)
        return row

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[int]:
        """A port to ask on: the portal's."""
        offer = CommitmentOffer(self.commitments, self.settings.same_association_s)
        settings = DicomSettings(host="127.0.0.1", port=port)
        listener = DicomListener(self.portal.portal, settings, [offer])
        await listener.start()
        try:
            yield listener.port
        finally:
            await listener.stop()

    @asynccontextmanager
    async def turning(self) -> AsyncIterator[None]:
        """The loop that decides and tells."""
        loop = Background("sender commitments", self.commitments.turn, 0.05)
        await loop.start()
        try:
            yield
        finally:
            await loop.stop()


def uids(references: Sequence[Reference]) -> set[str]:
    """Of instances."""
    return {one.sop_instance_uid for one in references}
