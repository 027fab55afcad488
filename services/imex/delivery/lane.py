"""One association of an attempt after the other: takes from the supply, sends, notes what became of it."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Protocol

from imex.delivery import decide
from imex.delivery.changing.facts import Given
from imex.delivery.decide import Answer, Verdict
from imex.delivery.jobs import Instance, Job
from imex.delivery.meters import Meters
from imex.delivery.pace import Pace
from imex.delivery.payloads import Payload, PayloadBroken, Prepare, Reader, Reading
from imex.delivery.recorder import Recorder
from imex.delivery.supply import Supply
from imex.delivery.targets import CannotDeliver, Context, Refused, Room, Session, Target, Together
from imex.delivery.turns import Turn, Turns
from imex.directory.model import Endpoint

_BARREN: Final = 2
"""With one it may have been the instance, with two it is the destination."""


class Stop:
    """Asks an attempt to end, or to use fewer associations, after the instances that it is sending."""

    def __init__(self) -> None:
        """Not asked."""
        self.reason = ""
        self.asked = asyncio.Event()
        self.narrow = False
        """Others wait for an association to this destination."""

    def ask(self, reason: str) -> None:
        """`reason` in words for the timeline; the first one counts."""
        self.reason = self.reason or reason
        self.asked.set()


@dataclass(slots=True)
class Count:
    """What has become of an attempt's instances."""

    confirmed: int = 0
    sent: int = 0
    """Taken by the destination, which has to be asked."""
    failed: int = 0
    again: int = 0
    bytes: int = 0
    full_in_a_row: int = 0
    last_failure: str = ""
    last_again: str = ""
    unsure: int = 0
    """Sent without a known answer."""
    last_unsure: str = ""
    changes: set[str] = field(default_factory=set)
    """What was changed in what was confirmed, in words."""

    @property
    def full(self) -> bool:
        """The destination is full, and it is no single instance that is too big for it."""
        return self.full_in_a_row >= decide.FULL_IN_A_ROW

    def note(self, instance: Instance, answer: Answer) -> None:
        """One more has an outcome."""
        self.full_in_a_row = self.full_in_a_row + 1 if answer.full else 0
        match answer.verdict:
            case Verdict.CONFIRMED:
                self.confirmed += 1
                self.bytes += instance.size
                self.changes.update(answer.changes)
            case Verdict.SENT:
                self.sent += 1
                self.bytes += instance.size
                self.changes.update(answer.changes)
            case Verdict.FAILED:
                self.failed += 1
                self.last_failure = answer.reason
            case Verdict.UNSURE:
                self.unsure += 1
                self.last_unsure = answer.reason
            case Verdict.RETRY:
                self.again += 1
                self.last_again = answer.reason


@dataclass(frozen=True, slots=True)
class Errand:
    """What all associations of an attempt work on together."""

    job: Job
    target: Target
    endpoint: Endpoint
    reader: Reader
    meters: Meters
    supply: Supply
    recorder: Recorder
    count: Count
    stop: Stop
    pace: Pace | None
    refused: dict[Context, str]
    """What the destination is known not to accept."""
    learn: Callable[[Refused], Awaitable[None]]
    """Remember more of it."""
    turns: Turns
    widen: Callable[[Job], Awaitable[bool]]
    """Ask for an association of its own."""
    must_stop: Callable[[], bool]
    """Whether nothing more is to be sent in this attempt."""
    prepare: Prepare | None = None
    """What payloads go through before they are sent."""
    asks: bool = False
    """Whether the destination is asked afterwards: its answer alone confirms nothing."""

    async def note(self, instance: Instance, answer: Answer, given: Given | None = None) -> None:
        """What became of an instance; waits while too much is not written."""
        since = self.job.failing.since
        now = datetime.now(UTC)
        if self.asks and answer.verdict is Verdict.CONFIRMED:
            answer = replace(answer, verdict=Verdict.SENT)
        settled = decide.settled(answer, sent_before=instance.sent_before, failing_for=now - (since or now))
        self.count.note(instance, settled)
        self.meters.instance(self.job, settled)
        if settled.verdict is not Verdict.RETRY:  # which waits on, for another attempt
            self.supply.settled()
        await self.recorder.add(instance, settled, given)


class _Stale(Exception):
    """An association that was kept open has ended."""


class Lane:
    """One association at a time."""

    def __init__(
        self, errand: Errand, *, lingers: bool, given_up: Callable[[], bool], on_sent: Callable[[], None]
    ) -> None:
        """One that `lingers` waits for what is still to come; one `given_up` is not wanted any more."""
        self._errand = errand
        self._supply = errand.supply
        self._lingers = lingers
        self._given_up = given_up
        self._on_sent = on_sent
        self._proven = True
        self._confirmed = 0
        self._barren = 0
        """Associations in a row on which nothing got through."""

    async def run(self) -> None:
        """Send until nothing is left or it is to stop.

        An association that breaks is followed by another one, with the instance in flight set aside, so that
        a bad instance does not hold up the others.

        Raises:
            CannotDeliver: there is no association, or two in a row broke before anything got through.
            StoreError: the object store failed.
        """
        errand = self._errand
        while not self._must_stop() and await self._supply.ready(lingers=self._lingers):
            if not await self._may_be_sent():
                continue
            turn = await errand.turns.take(
                errand.job, poke=self._supply.poke, widen=errand.widen, must_stop=self._must_stop
            )
            if turn is None:
                return
            opened = False
            before = self._confirmed
            contexts = self._supply.contexts
            try:
                async with errand.target.open(
                    errand.endpoint, contexts, errand.refused, keep=self._lingers
                ) as session:
                    opened = True
                    if session.learnt:
                        await errand.learn(session.learnt)
                    await self._use(session, turn)
            except _Stale:
                continue
            except PayloadBroken:
                continue  # noted; a data set cannot be broken off without its association
            except CannotDeliver as error:
                self._barren = 0 if self._confirmed > before else self._barren + 1
                if not opened or self._barren >= _BARREN or error.lasting or error.again_after:
                    raise
            finally:
                errand.turns.give_back(turn)

    def _must_stop(self) -> bool:
        return self._given_up() or self._errand.must_stop()

    async def _may_be_sent(self) -> bool:
        """Whether the next one is worth an association; one that is not has its outcome then."""
        instance = self._supply.now()
        if instance is None:
            return False
        errand = self._errand
        if refusal := errand.target.refusal(errand.endpoint, instance.context, errand.refused):
            await errand.note(instance, Answer(Verdict.FAILED, "", refusal))
            return False
        self._supply.back(instance)
        return True

    async def _use(self, session: Session, turn: Turn) -> None:
        ahead: deque[Reading] = deque()
        several = session if isinstance(session, Together) else None
        self._proven = not session.reused
        try:
            while not self._must_stop():
                # what has been read ahead is sent, even when the turn is over: reading it again costs more
                goes_on = not turn.over and await self._read_ahead(session, ahead)
                if ahead and several is not None:
                    await self._send_together(several, turn, ahead)
                elif ahead:
                    await self._send(session, ahead)
                    turn.sent += 1
                    self._on_sent()
                elif not goes_on or not await self._supply.ready(
                    lingers=self._lingers, unless=lambda: turn.wanted
                ):
                    return
        finally:
            for reading in reversed(ahead):
                self._supply.back(reading.instance)
                reading.close()

    async def _send_together(self, session: "_Several", turn: Turn, ahead: deque[Reading]) -> None:
        """One request. What it holds and gets no answer is the next again, before what was read ahead."""
        errand, parcel = self._errand, _Parcel()
        settled: set[str] = set()
        try:
            with errand.meters.storing(errand.job):
                async with aclosing(self._fill(session, turn, ahead, parcel)) as payloads:
                    answers = await session.send_together(payloads)
            for payload in parcel.payloads:
                uid = payload.instance.sop_instance_uid
                if (answer := answers.get(uid)) is not None:
                    settled.add(uid)
                    self._confirmed += answer.verdict is Verdict.CONFIRMED
                    await errand.note(payload.instance, sent_as(answer, payload), payload.given)
                    turn.sent += 1
                    self._on_sent()
        except CannotDeliver as error:
            if error.in_doubt:
                for payload in parcel.payloads:
                    settled.add(payload.instance.sop_instance_uid)
                    await errand.note(payload.instance, self._in_doubt(error, payload), payload.given)
            raise
        except PayloadBroken as error:
            for payload in parcel.payloads:
                if payload.broken:
                    settled.add(payload.instance.sop_instance_uid)
                    await errand.note(payload.instance, Answer(Verdict.FAILED, "", str(error)))
            raise
        finally:
            left = [one.instance for one in parcel.payloads if one.instance.sop_instance_uid not in settled]
            if left:  # before what was read ahead, which is read again: it is few
                for reading in reversed(ahead):
                    self._supply.back(reading.instance)
                    reading.close()
                ahead.clear()
            for instance in reversed(left):
                self._supply.back(instance)

    async def _fill(
        self, session: "_Several", turn: Turn, ahead: deque[Reading], parcel: "_Parcel"
    ) -> AsyncGenerator[Payload, None]:
        """What one request holds: as much as it may, while there is something at hand.

        One that is not held whole goes alone: where it proves to be broken, the request has to be.
        """
        errand = self._errand
        while ahead:
            reading = ahead[0]
            alone = reading.instance.size > errand.reader.bounds.whole_bytes
            if parcel.payloads and (alone or not parcel.has_room(session.room, reading.instance)):
                return
            payload = await reading.payload()  # a store that fails leaves it the next again
            ahead.popleft()
            payload.pace = errand.pace
            try:
                if payload.broken:
                    await errand.note(reading.instance, Answer(Verdict.FAILED, "", payload.broken))
                else:
                    parcel.add(payload)
                    yield payload
            finally:
                reading.close()
            if alone or turn.over or self._must_stop() or not parcel.has_room(session.room):
                return
            if not ahead and not await self._read_ahead(session, ahead):
                return

    def _in_doubt(self, error: CannotDeliver, payload: Payload) -> Answer:
        """Of what was on its way when the session ended: asked for where that can be, else sent again."""
        asks = self._errand.asks and error.in_doubt
        return sent_as(Answer(Verdict.UNSURE if asks else Verdict.RETRY, "", str(error)), payload)

    async def _read_ahead(self, session: Session, ahead: deque[Reading]) -> bool:
        """Begin to read what comes next; false when that needs another association."""
        while len(ahead) < self._errand.reader.bounds.instances:
            instance = self._supply.now()
            if instance is None:
                break
            if not session.covers(instance):
                self._supply.back(instance)
                return False
            if refusal := session.refusal(instance):
                await self._errand.note(instance, Answer(Verdict.FAILED, "", refusal))
                continue
            reading = self._errand.reader.begin(instance, ahead=bool(ahead), prepare=self._errand.prepare)
            if reading is None:
                self._supply.back(instance)
                break
            ahead.append(reading)
        return True

    async def _send(self, session: Session, ahead: deque[Reading]) -> None:
        reading = ahead[0]
        payload = await reading.payload()  # a store that fails leaves it the next again
        ahead.popleft()
        try:
            await self._send_payload(session, payload)
        finally:
            reading.close()

    async def _send_payload(self, session: Session, payload: Payload) -> None:
        instance = payload.instance
        payload.pace = self._errand.pace
        if payload.broken:
            await self._errand.note(instance, Answer(Verdict.FAILED, "", payload.broken))
            return
        try:
            with self._errand.meters.storing(self._errand.job):
                answer = await session.send(instance, payload)
        except PayloadBroken as error:
            await self._errand.note(instance, Answer(Verdict.FAILED, "", str(error)))
            raise
        except CannotDeliver as error:
            if not self._proven:  # it had ended while nobody used it
                self._supply.back(instance)
                raise _Stale from None
            # it was in flight: behind the others next time, in case it is what breaks the association
            await self._errand.note(instance, self._in_doubt(error, payload), payload.given)
            raise
        self._proven = True
        if answer.verdict is Verdict.CONFIRMED:
            self._confirmed += 1
        await self._errand.note(instance, sent_as(answer, payload), payload.given)


class _Several(Session, Together, Protocol):
    """A session that sends several instances in one request."""


class _Parcel:
    """What one request holds."""

    def __init__(self) -> None:
        self.payloads: list[Payload] = []
        self._bytes = 0

    def add(self, payload: Payload) -> None:
        self.payloads.append(payload)
        self._bytes += payload.size

    def has_room(self, room: Room, instance: Instance | None = None) -> bool:
        """Whether one more fits; without `instance` whether any could."""
        size = instance.size if instance else 1
        return len(self.payloads) < room.instances and self._bytes + size <= room.bytes


def sent_as(answer: Answer, payload: Payload) -> Answer:
    """The answer, with the UIDs under which the instance can be asked for, where these are not its own."""
    if payload.sop_instance_uid == payload.instance.sop_instance_uid and not payload.study_uid:
        return answer
    return replace(answer, sent_as=(payload.study_uid, payload.sop_instance_uid))
