"""One attempt: everything that waits of one delivery, over one association or several at a time."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from imex.db import is_outage
from imex.delivery.confirming.ways import asks
from imex.delivery.endings import Result
from imex.delivery.jobs import PAUSED, REROUTED, WITHDRAWN, Job
from imex.delivery.lane import Count, Errand, Lane, Stop
from imex.delivery.meters import Meters
from imex.delivery.pace import Rates
from imex.delivery.payloads import Prepare, Reader
from imex.delivery.recorder import recording
from imex.delivery.refusals import Refusals, Remembered
from imex.delivery.repository import Repository, Standing
from imex.delivery.supply import Supply
from imex.delivery.targets import CannotDeliver, Context, Refused, Target
from imex.delivery.turns import Turns
from imex.delivery.wake import Arrivals
from imex.directory.model import Endpoint
from imex.storage import StoreError

__all__ = ["LeaseLost", "Means", "Stop", "Width", "attempt"]

log = logging.getLogger(__name__)

WIDE_FROM = 8
"""So many instances at hand are worth a further association."""
_WIDEN_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Means:
    """What attempts work with."""

    repository: Repository
    refusals: Refusals
    reader: Reader
    arrivals: Arrivals
    rates: Rates
    meters: Meters
    linger_s: float = 2.0
    """How long an association for an emergency stays open for the next part of its manifest."""


async def _nobody(_: Job) -> None:
    """There is no other delivery."""


@dataclass(frozen=True, slots=True)
class Width:
    """How many associations an attempt may use."""

    most: int
    widen: Callable[[Job], Awaitable[bool]]
    """Ask for one more, which the destination has to have free and nobody else to wait for."""
    narrow: Callable[[Job], Awaitable[None]]
    """Give one back."""
    turns: Turns = field(default_factory=Turns)
    """Who uses an association when."""
    hand_on: Callable[[Job], Awaitable[None]] = _nobody
    """Have one of this attempt's counted for another delivery, which is using it."""


class LeaseLost(Exception):
    """Another process has the delivery."""


async def attempt(  # noqa: PLR0917  what, where to, with what, and within which bounds
    job: Job,
    target: Target,
    endpoint: Endpoint,
    means: Means,
    stop: Stop,
    width: Width,
    prepare: Prepare | None = None,
) -> Result:
    """Send what waits, each payload after it went through `prepare`.

    Does not raise for what a destination, the object store or an outage may do.

    Raises:
        LeaseLost: what has been confirmed is written, and the delivery is another's now.
    """
    try:
        for _ in range(job.associations):
            width.turns.bring(job)
        return await _attempt(job, target, endpoint, means, stop, width, prepare)
    finally:
        await width.turns.leave(job, sys.maxsize, width.hand_on)


async def _attempt(  # noqa: PLR0917  as above
    job: Job,
    target: Target,
    endpoint: Endpoint,
    means: Means,
    stop: Stop,
    width: Width,
    prepare: Prepare | None,
) -> Result:
    count = Count()
    reason = ""
    again_after = 0.0
    exhausted = False
    unreachable = False
    place = ""
    async with recording(means.repository, job) as recorder:
        with means.arrivals.inlet(job.id) as inlet:

            def must_stop() -> bool:
                return stop.asked.is_set() or recorder.standing is not Standing.HELD or count.full

            supply = Supply(
                job, means.repository, recorder, inlet, linger_s=means.linger_s, must_stop=must_stop
            )
            try:
                place = target.place(endpoint)
                refused = await means.refusals.of(job, place)
                errand = Errand(
                    job=job,
                    target=target,
                    endpoint=endpoint,
                    reader=means.reader,
                    meters=means.meters,
                    supply=supply,
                    recorder=recorder,
                    count=count,
                    stop=stop,
                    pace=means.rates.pace(job.destination, endpoint.accepts.max_mbps),
                    refused=refused,
                    learn=partial(_learn, means.refusals, job, place, refused),
                    turns=width.turns,
                    widen=width.widen,
                    must_stop=must_stop,
                    prepare=prepare,
                    asks=asks(endpoint),
                )
                await _Lanes(errand, width).run()
            except CannotDeliver as error:
                reason = str(error)
                unreachable = True
                again_after = error.again_after
                if (error.lasting or error.again_after) and not isinstance(error, Remembered):
                    await _learn_rejection(
                        means.refusals, job, target.place(endpoint), reason, error.again_after
                    )
            except StoreError:
                reason = "the object store is not available"
            except Exception as error:
                if not is_outage(error):
                    raise
                reason = "the database is not available"
            exhausted = not must_stop() and not reason
    if recorder.standing is Standing.LOST:
        raise LeaseLost
    yielded = False
    cut_short = bool(reason)
    if not reason:
        reason, yielded = _why(count, stop, recorder.standing, exhausted=exhausted)
    return Result(
        reason=reason,
        confirmed=count.confirmed,
        sent=count.sent,
        failed=count.failed,
        sent_bytes=count.bytes,
        again_after=again_after,
        in_doubt=count.unsure,
        only_in_doubt=bool(count.unsure) and reason == count.last_unsure and not cut_short,
        yielded=yielded,
        changes=tuple(sorted(count.changes)),
        away=(unreachable or count.full) and not count.confirmed + count.sent + count.failed,
        place=place,
    )


async def _learn_rejection(refusals: Refusals, job: Job, place: str, words: str, seconds: float) -> None:
    try:
        if seconds:
            await refusals.learn_rejection(job, place, words, seconds)
        else:
            await refusals.learn_rejection(job, place, words)
    except Exception as error:
        if not is_outage(error):  # it only spares others the question
            raise


async def _learn(
    refusals: Refusals, job: Job, place: str, refused: dict[Context, str], learnt: Refused
) -> None:
    """Remember what is new, for this attempt and for others."""
    new = {context: words for context, words in learnt.items() if context not in refused}
    refused.update(new)
    await refusals.learn(job, place, new)


_STOPPED: Final = {
    Standing.WITHDRAWN: WITHDRAWN,
    Standing.PAUSED: PAUSED,
    Standing.REROUTED: REROUTED,
}


def _why(count: Count, stop: Stop, standing: Standing, *, exhausted: bool) -> tuple[str, bool]:
    """Why an attempt that nothing broke did not succeed, and whether it only gave way."""
    if words := _STOPPED.get(standing):
        return words, True
    if count.again or count.unsure:
        return count.last_again or count.last_unsure, False
    if stop.asked.is_set() and not exhausted:
        return stop.reason, True
    if count.failed and not count.confirmed + count.sent:
        return f"nothing was accepted: {count.last_failure}", False
    return "", False


class _Lanes:
    """An attempt's associations: one that stays as long as it, others while there is much to send."""

    def __init__(self, errand: Errand, width: Width) -> None:
        self._errand = errand
        self._width = width
        self._further: set[asyncio.Task[None]] = set()
        self._widening_from = 0.0
        self._over = False

    async def run(self) -> None:
        """Send until nothing is left, or it is to stop. Raises CannotDeliver or StoreError."""
        errand = self._errand
        first = Lane(errand, lingers=True, given_up=lambda: False, on_sent=self._perhaps_widen)
        try:
            await first.run()
            while self._further:  # what they have begun, and what they may leave
                await asyncio.gather(*self._further)
                await first.run()
        finally:
            self._over = True
            await asyncio.gather(*self._further)

    def _perhaps_widen(self) -> None:
        now = asyncio.get_running_loop().time()
        if (
            self._errand.supply.backlog >= WIDE_FROM
            and len(self._further) + 1 < self._width.most
            and now >= self._widening_from
            and not self._errand.stop.narrow
            and not self._wanted()
        ):
            self._widening_from = now + _WIDEN_AGAIN_S
            task = asyncio.create_task(self._further_lane())
            self._further.add(task)
            task.add_done_callback(self._further.discard)

    async def _further_lane(self) -> None:
        """One more association, as long as there is something at hand; never the attempt's trouble."""
        try:
            if await self._width.widen(self._errand.job):
                self._width.turns.bring(self._errand.job)
                await self._use_further()
        except Exception as error:
            # the destination takes one only, or it is the first one's trouble too, which says so
            self._widening_from = float("inf")
            if not isinstance(error, CannotDeliver | StoreError) and not is_outage(error):
                log.exception("a further association of a delivery failed unexpectedly")

    async def _use_further(self) -> None:
        stop = self._errand.stop
        try:
            lane = Lane(
                self._errand,
                lingers=False,
                given_up=lambda: self._over or stop.narrow or self._wanted(),
                on_sent=self._perhaps_widen,
            )
            await lane.run()
        finally:
            await self._width.turns.leave(self._errand.job, 1, self._width.hand_on)
            await self._width.narrow(self._errand.job)
            stop.narrow = False

    def _wanted(self) -> bool:
        return self._width.turns.wanted(self._errand.job.destination)
