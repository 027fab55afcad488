"""One attempt: everything that waits of one delivery, over as few associations as it takes."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from imex.delivery import decide
from imex.delivery.decide import Answer, Verdict
from imex.delivery.endings import Result
from imex.delivery.jobs import Instance, Job
from imex.delivery.meters import Meters
from imex.delivery.payloads import Payload, PayloadBroken, ReadAhead, reading_ahead
from imex.delivery.recorder import Recorder, recording
from imex.delivery.repository import Repository, Standing
from imex.delivery.targets import CannotDeliver, Session, Target
from imex.delivery.wake import Bell, heard
from imex.directory.model import Endpoint
from imex.storage import ObjectStore, StoreError


class Stop:
    """Asks an attempt to end after the instance that it is sending."""

    def __init__(self) -> None:
        """Not asked."""
        self.reason = ""
        self.asked = asyncio.Event()

    def ask(self, reason: str) -> None:
        """`reason` in words for the timeline; the first one counts."""
        self.reason = self.reason or reason
        self.asked.set()


@dataclass(frozen=True, slots=True)
class Means:
    """What attempts work with."""

    repository: Repository
    store: ObjectStore
    bell: Bell
    read_ahead: ReadAhead
    meters: Meters
    linger_s: float = 2.0
    """How long an association for an emergency stays open for the next part of its manifest."""


class LeaseLost(Exception):
    """Another process has the delivery."""


async def attempt(job: Job, target: Target, endpoint: Endpoint, means: Means, stop: Stop) -> Result:
    """Send what waits. Does not raise for what a destination, or the object store, may do.

    Raises:
        LeaseLost: what has been confirmed is written, and the delivery is another's now.
    """
    count = _Count()
    reason = ""
    async with recording(means.repository, job) as recorder:
        carrier = _Carrier(job, means, stop, recorder, count)
        try:
            await carrier.run(target, endpoint)
        except CannotDeliver as error:
            reason = str(error)
        except StoreError:
            reason = "the object store is not available"
    if recorder.standing is Standing.LOST:
        raise LeaseLost
    yielded = False
    if not reason:
        reason, yielded = _why(count, stop, recorder.standing, exhausted=carrier.exhausted)
    return Result(
        reason=reason,
        confirmed=count.confirmed,
        failed=count.failed,
        sent_bytes=count.bytes,
        yielded=yielded,
    )


def _why(count: "_Count", stop: Stop, standing: Standing, *, exhausted: bool) -> tuple[str, bool]:
    """Why an attempt that nothing broke did not succeed, and whether it only gave way."""
    if standing is Standing.WITHDRAWN:
        return "stopped: the delivery was withdrawn", True
    if count.again:
        return count.last_again, False
    if stop.asked.is_set() and not exhausted:
        return stop.reason, True
    if count.failed and not count.confirmed:
        return f"nothing was accepted: {count.last_failure}", False
    return "", False


@dataclass(slots=True)
class _Count:
    confirmed: int = 0
    failed: int = 0
    again: int = 0
    bytes: int = 0
    full_in_a_row: int = 0
    last_failure: str = ""
    last_again: str = ""

    def note(self, instance: Instance, answer: Answer) -> None:
        self.full_in_a_row = self.full_in_a_row + 1 if answer.full else 0
        match answer.verdict:
            case Verdict.CONFIRMED:
                self.confirmed += 1
                self.bytes += instance.size
            case Verdict.FAILED:
                self.failed += 1
                self.last_failure = answer.reason
            case Verdict.RETRY:
                self.again += 1
                self.last_again = answer.reason


class _Carrier:
    def __init__(self, job: Job, means: Means, stop: Stop, recorder: Recorder, count: _Count) -> None:
        self._job = job
        self._means = means
        self._stop = stop
        self._recorder = recorder
        self._count = count
        self._put_off: set[str] = set()
        """Instances that this attempt does not send again."""
        self.exhausted = False
        """Nothing was left to send when it ended."""

    async def run(self, target: Target, endpoint: Endpoint) -> None:
        """Associations one after the other, until nothing is left or it is to stop."""
        while page := await self._next_page():
            others = await self._means.repository.waiting_contexts(self._job.id)
            contexts = decide.contexts_for([one.context for one in page], others)
            try:
                async with target.open(endpoint, contexts) as session:
                    await self._use(session, page)
            except PayloadBroken:
                continue  # the association was given up with the payload: the rest gets another one
        self.exhausted = not self._must_stop()

    async def _use(self, session: Session, page: list[Instance]) -> None:
        while page:
            covered = [one for one in page if session.covers(one)]
            await self._send_all(session, covered)
            if len(covered) < len(page):
                return  # the others need another association
            page = await self._next_page() or await self._linger()

    async def _next_page(self) -> list[Instance]:
        if self._must_stop():
            return []
        await self._recorder.flush()
        return await self._means.repository.waiting(self._job.id, self._put_off)

    async def _linger(self) -> list[Instance]:
        """What comes next of an emergency, while its association is open anyway."""
        job, repository = self._job, self._means.repository
        if job.lane != "express" or not await repository.expects_more(job.id):
            return []
        deadline = asyncio.get_running_loop().time() + self._means.linger_s
        while (left := deadline - asyncio.get_running_loop().time()) > 0 and not self._must_stop():
            rung = self._means.bell.listen()
            if page := await self._next_page():
                return page
            await heard(rung, min(left, 0.25))
        return []

    def _must_stop(self) -> bool:
        return (
            self._stop.asked.is_set()
            or self._recorder.standing is not Standing.HELD
            or self._count.full_in_a_row >= decide.FULL_IN_A_ROW
        )

    async def _send_all(self, session: Session, wanted: Sequence[Instance]) -> None:
        accepted = []
        for instance in wanted:
            if refusal := session.refusal(instance):
                await self._note(instance, Answer(Verdict.FAILED, "", refusal))
            else:
                accepted.append(instance)
        async with reading_ahead(self._means.store, accepted, self._means.read_ahead) as payloads:
            async for payload in payloads:
                if self._must_stop():
                    return
                await self._send(session, payload)

    async def _send(self, session: Session, payload: Payload) -> None:
        instance = payload.instance
        if payload.broken:
            await self._note(instance, Answer(Verdict.FAILED, "", payload.broken))
            return
        try:
            async with aclosing(payload.chunks()) as chunks:
                with self._means.meters.storing(self._job):
                    answer = await session.send(instance, chunks)
        except PayloadBroken as error:
            await self._note(instance, Answer(Verdict.FAILED, "", str(error)))
            raise
        except CannotDeliver as error:
            # it was in flight: behind the others next time, in case it is what breaks the association
            await self._note(instance, Answer(Verdict.RETRY, "", str(error)))
            raise
        await self._note(instance, answer)

    async def _note(self, instance: Instance, answer: Answer) -> None:
        since = self._job.failing.since
        now = datetime.now(UTC)
        settled = decide.settled(answer, sent_before=instance.sent_before, failing_for=now - (since or now))
        self._count.note(instance, settled)
        self._means.meters.instance(self._job, settled)
        if settled.verdict is Verdict.RETRY:
            self._put_off.add(instance.sop_instance_uid)
        await self._recorder.add(instance, settled)
