"""Looks at the questions that are open, decides them, and has the answers told."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

from imex.db import Database, UnitOfWork
from imex.dicom.commitment import FailureReason, Reference, Request
from imex.directory.model import DicomEndpoint
from imex.directory.reports import asks_for_commitment, node_for_reports
from imex.events.audit import Actor, AuditAction, AuditRecorded, AuditRecordedData
from imex.observability import names
from imex.observability.metrics import Metrics
from imex.portal.commitment import facts, questions
from imex.portal.commitment.decide import Verdict, decide, downgraded
from imex.portal.commitment.questions import Asker, Question, Taken
from imex.portal.commitment.settings import Bounds
from imex.portal.queries import directories

log = logging.getLogger(__name__)

_AT_A_TIME: Final = 8
_LEAST_PAUSE: Final = timedelta(seconds=1)
_MOST_PAUSE: Final = timedelta(minutes=5)
_MOST_REPORT_PAUSE: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is told of a question."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, FailureReason], ...]


class NotTold(Exception):
    """An answer did not reach who asked, or not now; the words are fit for people."""


class Node(Protocol):
    """Tells a sender's node."""

    async def tell(self, node: DicomEndpoint, calling_ae: str, answer: Answer) -> None:
        """N-EVENT-REPORT on an association of Imex' own. Raises NotTold."""
        ...


class Tell(Protocol):
    """Tells whoever asked, somehow."""

    async def __call__(self, answer: Answer) -> None:
        """Raises NotTold."""
        ...


class Commitments:
    """Takes questions, decides and answers them. Methods raise what the database raises."""

    def __init__(
        self,
        database: Database,
        node: Node,
        bounds: Bounds,
        metrics: Metrics,
        *,
        judged: Callable[[datetime], bool],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`judged`: whether what came in until then has been judged; False while nobody knows."""
        self._database = database
        self._node = node
        self._bounds = bounds
        self._judged = judged
        self._now = now
        self._holder = str(uuid4())
        self._instances = metrics.counter(names.PORTAL_COMMITMENTS)
        self._questions = metrics.counter(names.PORTAL_COMMITMENT_QUESTIONS)
        self._passing: set[asyncio.Task[bool]] = set()

    @property
    def bounds(self) -> Bounds:
        """What one institution may ask for."""
        return self._bounds

    async def take(self, asker: Asker, request: Request, *, patience: timedelta) -> tuple[Taken, UUID]:
        """Keep a question before it is answered with success; for `patience` it is for `answer_now` alone."""
        async with self._database.unit() as unit:
            taken, question = await questions.take(
                unit, asker, request, self._bounds, self._now(), patience=patience
            )
            refused = taken in {Taken.TOO_MANY, Taken.ANOTHER}
            _audit(
                unit,
                asker,
                "commitment_asked",
                request.transaction_uid,
                counts={"asked": len(request.references)},
                outcome="refused" if refused else "success",
                reason=_REFUSED.get(taken, ""),
            )
        self._questions.labels("refused" if refused else "asked").inc()
        return taken, question

    async def refused(self, asker: Asker, transaction_uid: str, words: str) -> None:
        """Keep in the audit record that a question was not taken."""
        async with self._database.unit() as unit:
            _audit(unit, asker, "commitment_asked", transaction_uid, outcome="refused", reason=words)
        self._questions.labels("refused").inc()

    async def answer_now(self, identifier: UUID, tell: Tell) -> bool:
        """Decide one question now and tell it by `tell`; false where it has to wait.

        Who is cancelled meanwhile leaves nothing half done: the look goes on by itself.
        """
        look = asyncio.create_task(self._look(identifier, tell))
        self._passing.add(look)
        look.add_done_callback(self._passing.discard)
        return await asyncio.shield(look)

    async def hand_on(self, identifier: UUID) -> None:
        """The association of a question is over: whoever turns goes on with it, at once."""
        async with self._database.unit() as unit:
            await questions.hasten(unit, identifier, self._now())

    async def turn(self) -> bool:
        """Look at what is due; true when there may be more. For a `Background` loop."""
        async with self._database.unit() as unit:
            due = await questions.claim(unit, self._holder, _AT_A_TIME, self._now())
        passed = await asyncio.gather(*(self._pass(one, None) for one in due), return_exceptions=True)
        if failed := [one for one in passed if isinstance(one, BaseException)]:
            raise failed[0]
        return len(due) == _AT_A_TIME

    async def tidy(self) -> bool:
        """Forget what was answered long ago. For a `Background` loop."""
        async with self._database.unit() as unit:
            await questions.forget(unit, self._now() - self._bounds.kept)
        return False

    async def let_go(self) -> None:
        """Leave what is being looked at to others: this process stops."""
        async with self._database.unit() as unit:
            await questions.let_go(unit, self._holder)

    async def _look(self, identifier: UUID, tell: Tell) -> bool:
        async with self._database.unit() as unit:
            question = await questions.claim_one(unit, self._holder, identifier)
        return question is not None and await self._pass(question, tell)

    async def _pass(self, question: Question, tell: Tell | None) -> bool:
        """One look at a claimed question; true once it has been answered or given up."""
        verdicts = await self._verdicts(question)
        before = question.verdicts
        if before is None:
            unsure = [one for one in verdicts if one.pending]
        else:
            # what was decided may be hours old: nothing is told that is not so any more
            unsure = [now for was, now in zip(before, verdicts, strict=True) if was.committed and now.pending]
        if unsure:
            await self._wait(question, unsure)
            return False
        return await self._tell(question, downgraded(before, verdicts) if before else verdicts, tell)

    async def _verdicts(self, question: Question) -> list[Verdict]:
        now = self._now()
        source, decided_at = question.asker.institution, question.decided_at
        uids = [one.sop_instance_uid for one in question.references]
        async with self._database.look() as connection:
            # in this order: what is judged between two of these looks is seen by a later one
            read = self._judged(question.asked_at)
            aside = await facts.put_aside(connection, source, uids)
            known = await facts.known(connection, source, uids)
        over = now >= (question.due_at if decided_at is None else decided_at + self._bounds.report)
        return [
            decide(
                one,
                known.get(one.sop_instance_uid),
                read=read and one.sop_instance_uid not in aside,
                over=over,
            )
            for one in question.references
        ]

    async def _wait(self, question: Question, unsure: list[Verdict]) -> None:
        now = self._now()
        pause = min(max((now - question.asked_at) / 10, _LEAST_PAUSE), _MOST_PAUSE)
        if question.decided_at is None:  # the deadline is not slept through
            pause = max(min(pause, question.due_at - now), _LEAST_PAUSE)
        async with self._database.unit() as unit:
            await questions.put(
                unit,
                self._holder,
                question.id,
                next_at=now + pause,
                reason=f"{len(unsure)} of {len(question.references)} instances: {unsure[0].words}",
            )

    async def _tell(self, question: Question, verdicts: list[Verdict], tell: Tell | None) -> bool:
        now = self._now()
        decided_at = question.decided_at or now
        kept: dict[str, Any] = {"refused": questions.refused_of(verdicts), "decided_at": decided_at}
        async with self._database.unit() as unit:  # before it is told: a repeat says the same, or less
            if not await questions.keep(unit, self._holder, question.id, state="decided", **kept):
                return False
        if question.verdicts is None:
            yes = sum(one.committed for one in verdicts)
            self._instances.labels("committed").inc(yes)
            self._instances.labels("refused").inc(len(verdicts) - yes)
        try:
            await (tell or await self._teller(question))(_answer(question, verdicts))
        except NotTold as error:
            return await self._untold(question, verdicts, decided_at, str(error))
        async with self._database.unit() as unit:
            if await questions.put(
                unit, self._holder, question.id, state="reported", reported_at=now, next_at=None, reason=""
            ):
                _told(unit, question, verdicts, "success", "")
        self._questions.labels("answered").inc()
        return True

    async def _untold(
        self, question: Question, verdicts: list[Verdict], decided_at: datetime, words: str
    ) -> bool:
        now = self._now()
        attempts = question.attempts + 1
        over = now - decided_at >= self._bounds.report
        pause = min(timedelta(seconds=2.0 * 2 ** min(attempts, 12)), _MOST_REPORT_PAUSE)
        values: dict[str, Any] = (
            {"state": "unreported", "next_at": None, "reason": f"given up: {words}"}
            if over
            else {"next_at": now + pause, "reason": words}
        )
        async with self._database.unit() as unit:
            done = await questions.put(unit, self._holder, question.id, attempts=attempts, **values)
            if done and over:
                _told(unit, question, verdicts, "failure", values["reason"])
        if over:
            self._questions.labels("given up").inc()
        return over

    async def _teller(self, question: Question) -> Tell:
        """On an association of Imex' own. Raises NotTold where the directory does not say where to."""
        asker = question.asker
        async with self._database.look() as connection:
            directory = (await directories.in_force(connection)).directory
        institution = next((one for one in directory.institutions if one.code == asker.institution), None)
        sender = asks_for_commitment(institution, asker.ae_title) if institution else None
        if institution is None or sender is None:
            raise NotTold(f"the directory does not let {asker.ae_title} ask for commitments any more")
        node = node_for_reports(institution, sender)
        if node is None:
            raise NotTold(f"the directory names no DICOM endpoint to report to for {asker.ae_title}")

        async def tell(answer: Answer) -> None:
            await self._node.tell(node, asker.called_ae, answer)

        return tell


_REFUSED: Final = {
    Taken.TOO_MANY: "too many questions of the institution wait for an answer",
    Taken.ANOTHER: "the Transaction UID is of another question",
}


def _answer(question: Question, verdicts: list[Verdict]) -> Answer:
    judged = list(zip(question.references, verdicts, strict=True))
    return Answer(
        question.transaction_uid,
        tuple(reference for reference, verdict in judged if verdict.committed),
        tuple(
            (reference, verdict.reason or FailureReason.PROCESSING_FAILURE)
            for reference, verdict in judged
            if not verdict.committed
        ),
    )


def _told(unit: UnitOfWork, question: Question, verdicts: list[Verdict], outcome: Any, reason: str) -> None:
    yes = sum(one.committed for one in verdicts)
    _audit(
        unit,
        question.asker,
        "commitment_told",
        question.transaction_uid,
        counts={"committed": yes, "refused": len(verdicts) - yes},
        outcome=outcome,
        reason=reason,
    )


def _audit(unit: UnitOfWork, asker: Asker, action: AuditAction, transaction_uid: str, **more: Any) -> None:
    institution = asker.institution
    unit.publish(
        AuditRecorded.of(
            id=uuid4(),
            subject=f"commitment/{questions.question_id(institution, transaction_uid)}",
            data=AuditRecordedData(
                action=action,
                actor=Actor(kind="institution", id=institution, institution=institution)
                if action == "commitment_asked"
                else Actor(kind="service", id="portal"),
                source=institution,
                details={"transaction": transaction_uid[:64], "ae_title": asker.ae_title},
                **more,
            ),
        )
    )
