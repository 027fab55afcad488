"""The relay: publishes a schema's outbox in order, one process at a time."""

import asyncio
import logging
import time

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db import Database
from imex.db.locks import lock_key
from imex.db.outbox import mark_published, settled_rows, waiting_rows
from imex.observability.metrics import Metrics
from imex.runtime.backoff import Interrupted, heard, pause
from imex.runtime.errors import is_transient
from imex.runtime.health import Health
from imex.runtime.meters import RelayMeters
from imex.runtime.producer import Outgoing, Producer

log = logging.getLogger(__name__)

_BATCH_ROWS = 500
_BUSY_POLL_S = 0.02
_IDLE_POLL_S = 0.2
_FOREIGN_S = 2.0
_STANDBY_S = 1.0
_STOP_S = 10.0
_STALLED_S = 90.0
_INBOX_DAYS = 35
_TIDY_S = 3600.0
_MEASURE_S = 5.0


class Relay:
    """Moves events from the outbox of `schema` to Kafka, at least once and in the order of `seq`.

    Only the holder of the schema's advisory lock publishes; another process's relay stands by. A unit of
    work that commits in this process wakes it at once; rows of other processes are found by polling, every
    20 ms while there are such. (LISTEN/NOTIFY was left out: NOTIFY locks the whole database at commit.)
    """

    def __init__(
        self, database: Database, schema: str, producer: Producer, metrics: Metrics | None = None
    ) -> None:
        """Nothing runs yet. `producer` belongs to the caller and is started before."""
        assert schema == database.schema, "a relay publishes the outbox of its own database's schema"
        self.name = f"relay {schema}"
        self._database = database
        self._producer = producer
        self._meters = RelayMeters(metrics, schema)
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._turned = time.monotonic()
        self._last_foreign = 0.0
        self._next_tidy = 0.0
        self._next_measure = 0.0
        self._trouble = ""

    async def start(self) -> None:
        """Begin, as the active relay or standing by."""
        self._turned = time.monotonic()
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """Publish what is under way and give the lock back."""
        self._stopping.set()
        self._database.written.set()
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=_STOP_S)
            for task in late:
                task.cancel()
                await asyncio.wait([task], timeout=1.0)

    def health(self) -> Health:
        """Live while the loop turns. Ready even when Kafka is away: the outbox keeps what waits."""
        stalled = time.monotonic() - self._turned > _STALLED_S
        return Health(live=not stalled, detail=self._trouble)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._session()
            except Interrupted:
                return
            except Exception as error:
                # whatever it is, the rows are still there; there is nothing better than trying again
                if not is_transient(error):
                    log.exception("%s failed", self.name)
                self._trouble = f"{type(error).__name__}"
                log.warning("%s waits: %s", self.name, self._trouble)
                self._turned = time.monotonic()
                try:
                    await pause(0.5, self._stopping)
                except Interrupted:
                    return

    async def _session(self) -> None:
        async with self._database.engine.connect() as plain:
            # autocommit: each look must see what has been committed by then
            connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
            key = {"key": lock_key("relay", self._database.schema)}
            while not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), key):
                self._turned = time.monotonic()
                self._trouble = ""
                await pause(_STANDBY_S, self._stopping)
            log.info("%s is active", self.name)
            try:
                await self._publish_until_stopped(connection)
            finally:
                # a connection that goes back to the pool would keep the lock
                await plain.invalidate()

    async def _publish_until_stopped(self, connection: AsyncConnection) -> None:
        woken = True
        while not self._stopping.is_set():
            self._turned = time.monotonic()
            self._database.written.clear()
            moved = await self._turn(connection)
            self._trouble = ""
            if moved and not woken:
                self._last_foreign = time.monotonic()
            if moved == _BATCH_ROWS:
                continue
            await self._look_after(connection)
            woken = await self._wait()

    async def _wait(self) -> bool:
        """Until a unit of this process has written, which is true, or it is time to look for others' rows."""
        others_write = time.monotonic() - self._last_foreign < _FOREIGN_S
        return await heard(self._database.written, _BUSY_POLL_S if others_write else _IDLE_POLL_S)

    async def _turn(self, connection: AsyncConnection) -> int:
        rows = await settled_rows(connection, self._database.common, _BATCH_ROWS)
        if not rows:
            return 0
        arrived = await self._producer.send_in_order(
            [Outgoing(row.topic, row.key, row.value, row.headers) for row in rows]
        )
        published = [row for row, done in zip(rows, arrived, strict=True) if done]
        # a session lock is this connection's: when it is lost, these statements fail and another relay,
        # which has the lock by then, publishes the rows again
        await mark_published(connection, self._database.common, published)
        self._meters.published(len(published))
        return len(rows)

    async def _look_after(self, connection: AsyncConnection) -> None:
        now = time.monotonic()
        if now >= self._next_measure:
            self._next_measure = now + _MEASURE_S
            rows, oldest_s = await waiting_rows(connection, self._database.common)
            self._meters.waiting(rows, oldest_s)
        if now >= self._next_tidy:
            # no record is redelivered once Kafka has dropped it (30 days at most), so its inbox row may go
            self._next_tidy = now + _TIDY_S
            inbox = self._database.common.inbox
            horizon = text(f"now() - interval '{_INBOX_DAYS} days'")
            await connection.execute(inbox.delete().where(inbox.c.at < horizon))
