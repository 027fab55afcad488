"""Dead letters: the original bytes, with the reason beside them."""

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from imex.db import Database, UnitOfWork
from imex.runtime.errors import is_transient
from imex.runtime.message import DeadLetterHook, RawRecord
from imex.runtime.producer import Producer

log = logging.getLogger(__name__)

PREFIX = "dead."
"""A topic's dead letters are in the topic of this and its name."""


class DeadLetters:
    """Writes dead letters and tells the service about them."""

    def __init__(self, producer: Producer, group: str, hook: DeadLetterHook | None) -> None:
        """`hook` runs once the letter is safe, in a transaction where there is a database."""
        self._producer = producer
        self._group = group
        self._hook = hook

    async def write(self, raw: RawRecord, reason: str, kind: str) -> None:
        """Produce the original key, value and headers, and `dead_*` headers that say where and why.

        Raises:
            BrokerUnavailable: not acknowledged; the record's offset must not move.
        """
        why = {
            "dead_reason": reason,
            "dead_exception": kind,
            "dead_topic": raw.topic,
            "dead_partition": str(raw.partition),
            "dead_offset": str(raw.offset),
            "dead_group": self._group,
            "dead_at": datetime.now(UTC).isoformat(),
        }
        added = tuple((name, text.encode()) for name, text in why.items())
        # a key is never absent: a record without key and value could not be produced at all
        key = raw.key if raw.key is not None or raw.value is not None else b""
        await self._producer.send_raw(PREFIX + raw.topic, key, raw.value, raw.headers + added)

    async def tell(
        self,
        database: Database | None,
        raw: RawRecord,
        reason: str,
        also: Callable[[UnitOfWork], Awaitable[None]] | None,
    ) -> None:
        """Run the hook, and `also` in the same transaction.

        A hook that fails for a reason of its own is logged and passed over: the letter is safe already.
        Raises what is transient, to be called again.
        """
        if database is None:
            try:
                await self._run_hook(raw, reason, None)
            except Exception as error:  # noqa: BLE001  sorted by _pass_over
                self._pass_over(error)
            return
        try:
            async with database.unit() as unit:
                await self._run_hook(raw, reason, unit)
                if also is not None:
                    await also(unit)
        except Exception as error:  # noqa: BLE001  sorted by _pass_over
            self._pass_over(error)
        else:
            return
        if also is not None:
            async with database.unit() as unit:
                await also(unit)

    async def _run_hook(self, raw: RawRecord, reason: str, unit: UnitOfWork | None) -> None:
        if self._hook is not None:
            await self._hook(raw, reason, unit)

    def _pass_over(self, error: Exception) -> None:
        if is_transient(error):
            raise error
        log.exception("the dead-letter hook of %s failed: %s", self._group, type(error).__name__)
