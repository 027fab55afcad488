"""A world for tests of retrievals: delivery's tables, and orders as routing gives them."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from tests.integration.delivery_world import until

from imex.db import Database
from imex.db.tables import delivery as tables
from imex.delivery.retrieving.archive import Archive
from imex.delivery.retrieving.orders import Order, obey
from imex.delivery.retrieving.retriever import Retriever
from imex.delivery.retrieving.rows import Rows
from imex.directory import DirectoryIndex
from imex.directory.model import Directory
from imex.events import Event, decode
from imex.events.retrievals import (
    HeldStudy,
    RetrievalMatched,
    RetrievalOrdered,
    RetrievalOrderedData,
    RetrievalProgressed,
    RetrievalWithdrawn,
    RetrievalWithdrawnData,
)
from imex.events.sealed import SealedWanted, seal_context
from imex.sealing import Sealer

SEALER = Sealer({"k1": bytes(range(32))}, "k1")
LEASE_S = 1.5


@dataclass
class Retrievals:
    """Delivery's side of requests."""

    database: Database
    directory: DirectoryIndex
    requests: dict[UUID, int] = field(default_factory=dict)

    @asynccontextmanager
    async def working(
        self, archives: Mapping[str, Archive], name: str = "one", most_tries: int = 3
    ) -> AsyncIterator[Retriever]:
        def opened(sealed: Any, context: bytes) -> SealedWanted:
            return SEALER.open_as(SealedWanted, sealed, context)

        rows = Rows(self.database, name, LEASE_S)
        retriever = Retriever(rows, lambda: self.directory, archives, opened, 4, LEASE_S, most_tries)
        await retriever.start()
        try:
            yield retriever
        finally:
            await retriever.stop()

    async def order(
        self,
        wanted: dict[str, str],
        *,
        request: UUID | None = None,
        held: dict[str, int] | None = None,
        **more: Any,
    ) -> UUID:
        """As routing orders it; a second one of the same request is its retry."""
        request = request or uuid4()
        number = self.requests[request] = self.requests.get(request, 0) + 1
        data = RetrievalOrderedData(
            **{
                "request": request,
                "order": number,
                "holder": "RQM",
                "requester": "RT3",
                "purpose": "direct-care",
                "endpoints": ("archive",),
                "priority": "routine",
                "wanted": SEALER.seal(SealedWanted(**wanted), seal_context("request", request)),
                "most": 50,
                "held": tuple(HeldStudy(study_uid=uid, instances=n) for uid, n in (held or {}).items()),
                "expires_at": datetime.now(UTC) + timedelta(days=14),
                **more,
            }
        )
        await self.hand_in(RetrievalOrdered.of(id=uuid4(), subject=f"request/{request}", data=data))
        return request

    async def withdraw(self, request: UUID) -> None:
        data = RetrievalWithdrawnData(
            request=request, order=self.requests[request], holder="RQM", reason="withdrawn"
        )
        await self.hand_in(RetrievalWithdrawn.of(id=uuid4(), subject=f"request/{request}", data=data))

    async def hand_in(self, event: Order) -> None:
        async with self.database.unit() as unit:
            await obey(unit, event)

    async def row(self, request: UUID) -> Any:
        async with self.database.look() as connection:
            t = tables.retrievals
            return (await connection.execute(select(t).where(t.c.id == request))).one()

    async def until(self, request: UUID, good: Callable[[Any], bool], seconds: float = 20.0) -> Any:
        async def look() -> Any:
            return await self.row(request)

        return await until(look, good, seconds)

    async def ended(self, request: UUID, seconds: float = 20.0) -> str:
        """How it ended."""
        row = await self.until(request, lambda one: one.state == "ended", seconds)
        assert row.wanted is None
        return str(row.outcome)

    async def studies(self, request: UUID) -> dict[str, tuple[str, int, int]]:
        s = tables.retrieval_studies
        async with self.database.look() as connection:
            rows = await connection.execute(select(s).where(s.c.request == request))
            return {one.study_uid: (one.state, one.instances, one.failed) for one in rows}

    async def events(self) -> list[Event[Any]]:
        outbox = tables.common.outbox
        async with self.database.look() as connection:
            rows = await connection.execute(select(outbox.c.value).order_by(outbox.c.seq))
            return [decode(bytes(row.value)) for row in rows]

    async def told(self, request: UUID) -> list[tuple[str, str]]:
        """What was said of how far it is."""
        found = [one.data for one in await self.events() if isinstance(one, RetrievalProgressed)]
        return [(one.state, one.reason) for one in found if one.request == request]

    async def matched(self, request: UUID) -> list[str]:
        found = [one.data for one in await self.events() if isinstance(one, RetrievalMatched)]
        return [uid for one in found if one.request == request for uid in one.studies]


def directory(**endpoint: Any) -> DirectoryIndex:
    """The holder with its archive."""
    node = {"name": "archive", "type": "dicom", "ae_title": "RQM_PACS", "host": "127.0.0.1", "query": True}
    facts = endpoint if endpoint.get("type") == "dicomweb" else node | endpoint
    return DirectoryIndex(
        Directory.model_validate(
            {
                "institutions": [
                    {
                        "code": "RQM",
                        "name": "Hospital A",
                        "kind": "nhs",
                        "senders": [{"ae_title": "RQM_PACS"}],
                        "endpoints": [{"name": "archive", "query": True, **facts}],
                    },
                    {"code": "RT3", "name": "Hospital B", "kind": "nhs"},
                ]
            }
        )
    )
