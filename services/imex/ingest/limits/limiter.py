"""Lets associations in within the limits that all processes share."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from imex.events import Event
from imex.events.capacity import CapacityClaimedData, CapacityReleasedData, CapacityReportedData
from imex.ingest.limits.admission import Count, Step, judge, judge_alone
from imex.ingest.limits.bounds import BoundsTable
from imex.ingest.limits.ledger import EVERYBODY, Ledger, Verdict, Wants
from imex.ingest.limits.records import Records
from imex.ingest.limits.shares import Needs, entitlement
from imex.ingest.meters import LimitMeters
from imex.runtime.backoff import ended, heard
from imex.runtime.health import Health
from imex.runtime.log_follower import LogRecord

log = structlog.get_logger(__name__)

_GOODBYE_S = 1.0
_MOST_REPORTS = 2  # under way at a time: while the broker is away more would only be repeated later


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds."""

    report_s: float = 1.0
    expire_s: float = 10.0
    """A process that was not heard for so long holds nothing any more."""
    wait_s: float = 2.0
    """For the topic to decide; then what is known decides."""
    room_s: float = 0.3
    """For another association to end, where all is taken."""
    stale_s: float = 3.0
    """Own records that are not read back for so long: the topic is away."""


class Overfull(Exception):
    """There is no room for one more association; `scope` is whose limit: "everybody" or "institution"."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.scope = scope


class _Claim:
    """One association's claim, from before it is let in until it has ended."""

    def __init__(self, number: int, institution: str) -> None:
        self.number = number
        self.institution = institution
        self.said = False  # read back, or given up
        self.counted = False  # in what reports say
        self.left = False  # the association has ended
        self.given_up = False
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.publishing: asyncio.Task[bool] | None = None


class Limiter:
    """A component of ingest: the topic's records on one side, what is open here on the other.

    `take` is given the records of the topic `capacity` in their order.

    `wants` tells what this process needs of bytes, by institution, since it was last asked.
    """

    name = "limits"

    def __init__(
        self,
        process: UUID,
        bounds: BoundsTable,
        publish: Callable[[Event[Any]], Awaitable[None]],
        new_id: Callable[[], UUID],
        meters: LimitMeters,
        *,
        wants: Callable[[], Mapping[str, Wants]] = dict,
        turned: Callable[[], None] = lambda: None,
        expected: int = 1,
        timing: Timing = Timing(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`turned` is called when entitlements may have changed; `expected` processes are assumed."""
        self._process = process
        self._bounds = bounds
        self._publish = publish
        self._records = Records(process, new_id)
        self._meters = meters
        self._wants = wants
        self._wanted: Mapping[str, Wants] = {}
        self._turned = turned
        self._expected = expected
        self._timing = timing
        self._clock = clock
        self._ledger = Ledger(timing.expire_s)
        self._claims: dict[int, _Claim] = {}
        self._numbers = 0
        self._open: Counter[str] = Counter()
        self._settled: Counter[str] = Counter()
        self._started_at = clock()
        self._heard_at: float | None = None
        self._moved = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reports = 0
        self._reporting: asyncio.Task[None] | None = None

    # -- life

    async def start(self) -> None:
        """Begin to report."""
        self._started_at = self._clock()
        self._reporting = asyncio.create_task(self._report_on_and_on())

    async def stop(self) -> None:
        """Say what is still to be said, and that nothing is held any more; for two seconds at most."""
        if self._reporting is not None:
            await ended(self._reporting)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GOODBYE_S)
        await asyncio.wait(
            [self._spawn(self._send(self._records.left(self._ledger.position)))], timeout=_GOODBYE_S
        )
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def health(self) -> Health:
        """Ready in any case; degraded while this process decides alone."""
        return Health(detail="" if self.connected else "limits: decided without the other processes")

    # -- what is known

    @property
    def connected(self) -> bool:
        """Whether what this process says comes back in time."""
        return self._heard_at is not None and self._clock() - self._heard_at < self._timing.stale_s

    @property
    def live(self) -> int:
        """Processes that live, as far as is known."""
        return max(len(self._ledger.live), 1)

    def entitled(self, limit: int, needs: Needs) -> int:
        """What this process may use of a limit on bytes."""
        if self._heard_at is None:
            return limit // max(self._expected, 1)
        live = self._ledger.live
        usual = entitlement(self._ledger.epochs, live, self._process, limit, needs)
        return usual if self.connected else min(usual, limit // max(len(live), 1))

    # -- associations

    async def enter(self, institution: str) -> Callable[[], None]:
        """Let one more association in; what is returned has to be called when it has ended.

        Raises:
            Overfull: no room, and none came up within the time.
        """
        if self._heard_at is None:
            await self._until(lambda: self._heard_at is not None, self._started_at + self._timing.wait_s)
        started = self._clock()
        full = Verdict.EVERYBODY_FULL.value
        while self._clock() - started < self._timing.wait_s:
            if not self.connected:
                return self._decide_alone(institution)
            step = judge(self._everybody(), self._institution(institution), self.live)
            if step is Step.TAKE:
                return self._let_in(self._claim(institution, taken=True), "at once")
            if step is Step.ASK:
                answer = await self._ask(institution, started + self._timing.wait_s)
                if callable(answer):
                    return answer
                if answer is Verdict.LATER:
                    await self._next(started + self._timing.wait_s)
                continue
            full = step.value
            if not await self._until(self._room(institution), started + self._timing.room_s):
                break
        raise Overfull(full)

    async def _ask(self, institution: str, until: float) -> Callable[[], None] | Verdict:
        """Claim, and read in the topic whether it is let in or why not."""
        claim = self._claim(institution, taken=False)
        try:
            async with asyncio.timeout(max(until - self._clock(), 0.0)):
                verdict = await asyncio.shield(claim.verdict)
        except TimeoutError:
            self._give_up(claim)
            return self._decide_alone(institution)
        except BaseException:
            self._give_up(claim)
            raise
        if verdict is Verdict.GRANTED:
            return self._let_in(claim, "by the topic")
        return verdict

    def _decide_alone(self, institution: str) -> Callable[[], None]:
        live = self._ledger.live
        known = self._process in live
        step = judge_alone(
            self._everybody(),
            self._institution(institution),
            Count(0, used=self._open.total(), own=self._open[institution]),
            len(live) if known else max(self._expected, len(live) + 1),
            live.index(self._process) if known else len(live),
        )
        if step is not Step.TAKE:
            raise Overfull(step.value)
        return self._let_in(self._claim(institution, taken=True), "alone")

    def _everybody(self) -> Count:
        own = self._ledger.held(self._process).total()
        doubt = sum(1 for claim in self._claims.values() if not claim.said)
        limit, open_ = self._bounds.everybody.associations, self._ledger.is_open(EVERYBODY)
        return Count(limit, self._ledger.total, own, doubt, open_)

    def _institution(self, code: str) -> Count:
        own = self._ledger.held(self._process)[code]
        doubt = sum(1 for claim in self._claims.values() if not claim.said and claim.institution == code)
        limit, open_ = self._bounds.of(code).associations, self._ledger.is_open(code)
        return Count(limit, self._ledger.institution(code), own, doubt, open_)

    def _room(self, institution: str) -> Callable[[], bool]:
        def room() -> bool:
            step = judge(self._everybody(), self._institution(institution), self.live)
            return step in (Step.TAKE, Step.ASK) or not self.connected

        return room

    def _let_in(self, claim: _Claim, how: str) -> Callable[[], None]:
        self._open[claim.institution] += 1
        self._meters.let_in(how)

        def leave() -> None:
            if not claim.left:
                claim.left = True
                self._open[claim.institution] -= 1
                self._spawn(self._release(claim))

        return leave

    # -- what is said

    def _claim(self, institution: str, *, taken: bool) -> _Claim:
        self._numbers += 1
        claim = self._claims[self._numbers] = _Claim(self._numbers, institution)
        limits = self._bounds.everybody.associations, self._bounds.of(institution).associations
        event = self._records.claimed(self._ledger.position, claim.number, institution, limits, taken=taken)
        claim.publishing = self._spawn(self._send_claim(claim, event))
        return claim

    async def _send_claim(self, claim: _Claim, event: Event[Any]) -> bool:
        sent = await self._send(event)
        if not sent and not claim.said:
            # it may still arrive; whether it does or not, the next report says what is held
            if claim.given_up:
                self._claims.pop(claim.number, None)
            else:
                self._settle(claim)
        return sent

    def _give_up(self, claim: _Claim) -> None:
        """Wait no more for the topic's verdict; a granted claim is given back as soon as it is read."""
        claim.given_up = True
        if claim.said:
            self._answered_late(claim)

    async def _release(self, claim: _Claim) -> None:
        if claim.publishing is not None:
            await asyncio.wait([claim.publishing])
        event = self._records.released(self._ledger.position, claim.number, claim.institution)
        if not await self._send(event):
            self._unsettle(claim.number)

    async def _report_on_and_on(self) -> None:
        while True:
            if self._reports < _MOST_REPORTS:
                self._wanted = self._wants()
                self._send_report()
            self._turned()
            await asyncio.sleep(self._timing.report_s if self._heard_at is not None else 0.1)

    def _send_report(self) -> None:
        self._reports += 1
        report = self._records.reported(self._ledger.position, self._settled, self._wanted)
        self._spawn(self._send(report)).add_done_callback(self._reported)

    def _reported(self, _: asyncio.Task[bool]) -> None:
        self._reports -= 1

    async def _send(self, event: Event[Any]) -> bool:
        try:
            await self._publish(event)
        except Exception as error:  # noqa: BLE001  whatever it was: it is not said, and the limits hold without
            log.debug("capacity not said", type=event.type, kind=type(error).__name__)
            return False
        return True

    def _spawn(self, work: Coroutine[Any, Any, bool | None]) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- what is read

    def take(self, records: Sequence[LogRecord]) -> None:
        """Records of the topic, this process's own among them."""
        epoch, closings = self._ledger.epoch, self._ledger.closings
        for record in records:
            verdict = self._ledger.apply(record.offset, record.at, record.event)
            if getattr(record.event.data, "process", None) == self._process:
                self._own(record.event, verdict)
        self._meters.known(self.live, self._ledger.total)
        if self._ledger.epoch != epoch:
            self._turned()
        if self._ledger.closings != closings and self.connected:
            self._send_report()  # others wait to hear that this process has read of it
        self._moved.set()

    def _own(self, event: Event[Any], verdict: Verdict | None) -> None:
        match event.data:
            case CapacityReportedData():
                self._heard_at = self._clock()
            case CapacityClaimedData() as said:
                claim = self._claims.get(said.claim)
                if claim is not None and verdict is not None:
                    self._answered(claim, verdict, taken=said.taken)
            case CapacityReleasedData() as said:
                self._unsettle(said.claim)
            case _:
                pass

    def _answered(self, claim: _Claim, verdict: Verdict, *, taken: bool) -> None:
        if taken and verdict is not Verdict.GRANTED:
            self._meters.overshot()
        if taken or verdict is Verdict.GRANTED:
            self._settle(claim)
        else:
            del self._claims[claim.number]
        claim.said = True
        if not claim.verdict.done():
            claim.verdict.set_result(verdict)
        if claim.given_up:
            self._answered_late(claim)

    def _answered_late(self, claim: _Claim) -> None:
        if claim.counted:
            self._spawn(self._release(claim))

    def _settle(self, claim: _Claim) -> None:
        claim.said = True
        if not claim.counted:
            claim.counted = True
            self._settled[claim.institution] += 1

    def _unsettle(self, number: int) -> None:
        claim = self._claims.pop(number, None)
        if claim is not None and claim.counted:
            self._settled[claim.institution] -= 1

    # -- waiting

    async def _next(self, until: float) -> None:
        """Wait for more to be read."""
        self._moved.clear()
        await heard(self._moved, max(until - self._clock(), 0.0))

    async def _until(self, true: Callable[[], bool], until: float) -> bool:
        """Wait for something that changes with what is read; False when it did not in time."""
        while not true():
            left = until - self._clock()
            if left <= 0:
                return False
            self._moved.clear()
            if not await heard(self._moved, left):
                return true()
        return True
