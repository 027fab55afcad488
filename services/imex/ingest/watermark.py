"""How full the object store is, and what that means for what comes in."""

import asyncio
import math
import time
from collections.abc import Callable

import structlog

from imex.events import Lane
from imex.ingest.meters import StoreMeters
from imex.runtime.backoff import ended
from imex.runtime.health import Health
from imex.storage import Capacity, CapacitySource, StoreError

log = structlog.get_logger(__name__)

_BACK = 0.02  # below the mark before routine studies are taken again, so that it does not flutter
_OLD = 6  # polls without an answer, and what was known is not known any more


class Mark:
    """Pure: from how full the store is to what it takes; with some distance between no more and again."""

    def __init__(self, level: float) -> None:
        """`level` from 0 to 1."""
        self._level = level
        self.fraction: float | None = None
        self.reached = False

    def read(self, fraction: float | None) -> None:
        """As full as this; None where it is not known, and then nothing is refused."""
        self.fraction = fraction
        if fraction is None:
            self.reached = False
        elif fraction >= self._level:
            self.reached = True
        elif fraction < self._level - _BACK:
            self.reached = False

    def refusal(self, lane: Lane) -> str | None:
        """Why nothing is stored in this lane: emergencies alone may use the rest."""
        if not self.reached or lane == "express":
            return None
        # rounded down: 100 % is said when it is
        return f"storage {math.floor(100 * (self.fraction or 0))} % full, emergencies only"


class StoreFill:
    """A component that looks every now and then (imex.ingest.ports.Fill)."""

    name = "storage"

    def __init__(
        self,
        source: CapacitySource,
        level: float,
        poll_s: float,
        meters: StoreMeters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`level`: of 1, from which on only emergencies are stored."""
        self._source = source
        self._mark = Mark(level)
        self._poll_s = poll_s
        self._meters = meters
        self._clock = clock
        self._read_at = clock()
        self._trouble = ""
        self._polling: asyncio.Task[None] | None = None

    def refusal(self, lane: Lane) -> str | None:
        """See imex.ingest.ports.Fill."""
        return self._mark.refusal(lane)

    async def start(self) -> None:
        """Begin to look; returns at once."""
        self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """Look no more."""
        if self._polling is not None:
            await ended(self._polling)
        await self._source.close()

    def health(self) -> Health:
        """Ready in any case; degraded while studies are refused, or nobody knows whether they should be."""
        return Health(detail=self._mark.refusal("bulk") or self._trouble)

    async def look(self) -> None:
        """Ask once."""
        try:
            capacity = await self._source.read()
        except StoreError as error:
            self._unknown(error)
            return
        self._read_at = self._clock()
        self._trouble = ""
        self._known(capacity)

    def _known(self, capacity: Capacity) -> None:
        before = self._mark.reached
        self._mark.read(capacity.fraction)
        self._meters.fill(capacity.used, capacity.total, refusing=self._mark.reached)
        if self._mark.reached and not before:
            log.error("storage is nearly full, only emergencies are taken", full=round(capacity.fraction, 3))
        elif before and not self._mark.reached:
            log.info("storage has room again", full=round(capacity.fraction, 3))

    def _unknown(self, error: StoreError) -> None:
        trouble = f"it is not known how full the object store is: {error}"
        if trouble != self._trouble:
            log.warning("storage fill unknown", reason=str(error))
        self._trouble = trouble
        if self._clock() - self._read_at >= _OLD * self._poll_s or self._mark.fraction is None:
            self._mark.read(None)
            self._meters.fill_unknown()

    async def _poll(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._poll_s)
