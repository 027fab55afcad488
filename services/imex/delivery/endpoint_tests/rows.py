"""Tests as rows: asked for, claimed by one process, told step by step, and ended."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import and_, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from imex.db import Database, UnitOfWork
from imex.db.tables.delivery import endpoint_tests
from imex.delivery.endpoint_tests.steps import Step
from imex.events.commands import EndpointCommanded, EndpointCommandedData

LEASE_S: Final = 30.0
KEPT: Final = 20
"""Tests of one endpoint that are kept."""
MOST_ATTEMPTS: Final = 2
_BROKEN_OFF: Final = "it was broken off twice by a restart of the delivery service: ask for it again"


@dataclass(frozen=True, slots=True)
class Asked:
    """A test that this process has claimed."""

    id: UUID
    recipient: str
    endpoint: str
    send: bool


async def ask(unit: UnitOfWork, event: EndpointCommanded) -> bool:
    """Write down a test that somebody asks for; false where another one of the endpoint is not done yet."""
    data = event.data
    t = endpoint_tests.c
    values = {
        "id": data.test,
        "recipient": data.recipient,
        "endpoint": data.endpoint,
        "send": data.send,
        "actor": data.actor,
        "actor_institution": data.actor_institution,
    }
    new = await unit.connection.execute(
        insert(endpoint_tests)
        .values(state="waiting", **values)
        .on_conflict_do_nothing(index_elements=["recipient", "endpoint"], index_where=text("state <> 'done'"))
        .returning(t.id)
    )
    taken = new.one_or_none() is not None
    if not taken:
        reason = "another test of this endpoint was under way: ask again when it is done"
        await unit.connection.execute(
            insert(endpoint_tests)
            .values(state="done", outcome="refused", reason=reason, finished_at=func.now(), **values)
            .on_conflict_do_nothing()
        )
    await _forget_old(unit, data)
    return taken


async def _forget_old(unit: UnitOfWork, data: EndpointCommandedData) -> None:
    t = endpoint_tests.c
    of_endpoint = and_(t.recipient == data.recipient, t.endpoint == data.endpoint, t.state == "done")
    newest = select(t.id).where(of_endpoint).order_by(t.requested_at.desc(), t.id).limit(KEPT)
    await unit.connection.execute(delete(endpoint_tests).where(of_endpoint, t.id.not_in(newest)))


class Rows:
    """The tests of one process."""

    def __init__(self, database: Database, holder: str) -> None:
        """`holder` is the name under which this process leases them."""
        self._database = database
        self._holder = holder

    async def claim(self, most: int, running: Collection[UUID] = ()) -> list[Asked]:
        """Up to `most` that wait, or whose process has gone.

        What is `running` here is none of these: only its lease could not be renewed in time.
        """
        t = endpoint_tests.c
        over = and_(t.state == "running", t.lease_until < func.now())
        async with self._database.unit() as unit:
            due = await unit.connection.execute(
                select(t.id, t.recipient, t.endpoint, t.send, t.attempts)
                .where(or_(t.state == "waiting", over), t.id.not_in(running))
                .order_by(t.requested_at)
                .limit(most)
                .with_for_update(skip_locked=True)
            )
            rows = due.all()
            given_up = [row.id for row in rows if row.attempts >= MOST_ATTEMPTS]
            claimed = [row for row in rows if row.attempts < MOST_ATTEMPTS]
            if given_up:
                await unit.connection.execute(
                    update(endpoint_tests)
                    .where(t.id.in_(given_up))
                    .values(state="done", outcome="broken off", reason=_BROKEN_OFF, finished_at=func.now())
                )
            if claimed:
                await unit.connection.execute(
                    update(endpoint_tests)
                    .where(t.id.in_([row.id for row in claimed]))
                    .values(
                        state="running",
                        leased_by=self._holder,
                        lease_until=_lease(),
                        attempts=t.attempts + 1,
                        steps=[],
                    )
                )
            return [Asked(row.id, row.recipient, row.endpoint, row.send) for row in claimed]

    async def tell(self, test: UUID, steps: Sequence[Step]) -> bool:
        """Write down what is found so far; false when the test is another process' now."""
        return await self._write(test, steps=_documents(steps), lease_until=_lease())

    async def renew(self, test: UUID) -> bool:
        """It still runs here."""
        return await self._write(test, lease_until=_lease())

    async def end(self, test: UUID, steps: Sequence[Step], outcome: str, reason: str) -> bool:
        """Write down how it ended."""
        return await self._write(
            test,
            steps=_documents(steps),
            state="done",
            outcome=outcome,
            reason=reason,
            finished_at=func.now(),
            lease_until=None,
        )

    async def _write(self, test: UUID, **values: Any) -> bool:
        t = endpoint_tests.c
        async with self._database.unit() as unit:
            written = await unit.connection.execute(
                update(endpoint_tests)
                .where(t.id == test, t.state == "running", t.leased_by == self._holder)
                .values(**values)
            )
            return written.rowcount == 1


def _lease() -> Any:
    return func.now() + text(f"interval '{LEASE_S:.0f} seconds'")


def _documents(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [one.document() for one in steps]
