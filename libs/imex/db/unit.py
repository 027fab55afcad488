"""One unit of work: state, inbox and outbox in one transaction."""

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.bulk import insert_rows
from imex.db.locks import lock_key
from imex.db.tables.common import Common
from imex.events import Event, topic_of


class UnitOfWork:
    """What a handler works with: a connection inside a transaction, and events that leave with it."""

    def __init__(self, connection: AsyncConnection, common: Common) -> None:
        """A unit over an open transaction; `Database.unit` makes them."""
        self.connection = connection
        self.common = common
        self._outgoing: list[dict[str, Any]] = []
        self._afterwards: list[Callable[[], object]] = []

    def after_commit(self, call: Callable[[], object]) -> None:
        """Call something of this process once others can see what this unit has written; never when not."""
        self._afterwards.append(call)

    def committed(self) -> None:
        """The unit has committed: whoever owns it says so."""
        for call in self._afterwards:
            call()

    async def claim(self, event_ids: Iterable[UUID]) -> set[UUID]:
        """Write inbox rows and give back the ids that were new.

        Done first in a transaction, this also fences: a second consumer with the same event waits here
        until the first has committed, and then finds the event not new.
        """
        # sorted, so that two units that overlap wait for each other in one direction only
        ids = sorted(set(event_ids))
        if not ids:
            return set()
        rows = await insert_rows(
            self.connection,
            self.common.inbox,
            [{"event_id": event_id} for event_id in ids],
            returning=("event_id",),
            conflict="skip",
        )
        return {row.event_id for row in rows}

    def publish(self, event: Event[Any], topic: str | None = None) -> None:
        """Queue an event for the outbox; it leaves when, and only when, this unit commits.

        `topic` is the one of the catalogue unless stated.
        """
        headers = {"ce_type": event.type, "ce_id": str(event.id)}
        if event.traceparent:
            headers["traceparent"] = event.traceparent
        self._outgoing.append(
            {
                "topic": topic or topic_of(event),
                "key": event.key,
                "value": event.encode(),
                "headers": headers,
            }
        )

    async def flush(self) -> bool:
        """Write the queued events; true when there were any. The last thing before the commit.

        The shared lock tells the relay that rows with numbers already drawn are still to come: see
        `imex.db.outbox`. Taking it this late keeps the time short for which anyone waits.
        """
        if not self._outgoing:
            return False
        outbox = self.common.outbox
        await insert_rows(
            self.connection, outbox, self._outgoing, lock=lock_key("outbox", str(outbox.schema))
        )
        self._outgoing = []
        return True
