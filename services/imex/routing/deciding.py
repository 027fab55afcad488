"""Asking the directory about a study, doing what it says, and recording both."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from imex.db.bulk import insert_rows
from imex.db.tables import routing as tables
from imex.directory import DirectoryIndex
from imex.routing.docket import Docket
from imex.routing.publish import Cause
from imex.routing.states import Fact
from imex.sharing.decide import consider, rule_facts
from imex.sharing.decisions import Addressed, Background, Open, Outcome, Question, Raise, Widen
from imex.sharing.model import Share, Study, StudyKey
from imex.sharing.recorded import Answer, RecordedQuestion


class Deciding:
    """The decisions of one unit of work; nothing is written before `write`."""

    def __init__(
        self, docket: Docket, index: DirectoryIndex, backgrounds: Mapping[StudyKey, Background]
    ) -> None:
        """`backgrounds` are of all studies that will be asked about."""
        self._docket = docket
        self._index = index
        self._backgrounds = backgrounds
        self._recorded: list[dict[str, Any]] = []

    def ask(self, study: Study, cause: Cause) -> list[Share]:
        """Ask rules and agreements about a study as it now is; gives back the shares that are new."""
        return self._ask(study, cause, standing=study.standing, recipients=study.recipients)

    def hold(self, study: Study, cause: Cause) -> None:
        """Hold what is not delivered of a study to what is in force now; no share is made."""
        self._ask(study, cause)

    def hold_again(self, study: Study, cause: Cause) -> None:
        """The same, where nothing is known to have changed: recorded only where something comes of it."""
        question = self._question(study, cause)
        outcome = consider(self._index, question)
        if outcome.withheld or outcome.rested:
            self._record(question, outcome)
            self._carry_out(study, outcome, cause)

    def has(self, study: Study, institution: str) -> bool:
        """Whether an institution has a study already."""
        return institution in self._backgrounds[study.key].held_by

    def ask_by_hand(
        self, study: Study, wish: Addressed, cause: Cause, command: UUID | None = None
    ) -> Share | None:
        """Ask for one share that is wanted beside the rules; None where one lives already."""
        opened = self._ask(study, cause, command, by_hand=wish)
        return opened[0] if opened else None

    def _question(self, study: Study, cause: Cause, **asked: Any) -> Question:
        return Question(
            study_uid=study.study_uid,
            facts=rule_facts(study),
            at=cause.at,
            passage=study.passage,
            background=self._backgrounds[study.key],
            shares=tuple(self._docket.of(study)),
            **asked,
        )

    def _ask(self, study: Study, cause: Cause, command: UUID | None = None, **asked: Any) -> list[Share]:
        question = self._question(study, cause, **asked)
        outcome = consider(self._index, question)
        self._record(question, outcome)
        return self._carry_out(study, outcome, cause, command)

    def _carry_out(
        self, study: Study, outcome: Outcome, cause: Cause, command: UUID | None = None
    ) -> list[Share]:
        for one in outcome.withheld:
            fact = Fact.TAKEN_BACK if one.share.parts else Fact.UNCOVERED
            self._docket.move(one.share, fact, cause, reason=one.reason)
        for rest in outcome.rested:
            self._docket.rest(rest.share, rest.judgement, cause)
        opened: list[Share] = []
        for decision in outcome.planned:
            match decision:
                case Open():
                    opened.append(self._docket.open(study, decision, cause, command))
                case Raise(share, wish):
                    self._docket.urge(share, wish, cause)
                case Widen(share, wish, judgement):
                    self._docket.widen(share, wish, judgement, cause, command)
        return opened

    def _record(self, question: Question, outcome: Outcome) -> None:
        recorded = RecordedQuestion.of(question, self._index.version)
        self._recorded.append(
            {
                "source": question.facts.source,
                "study_uid": question.study_uid,
                "at": question.at,
                "directory_version": self._index.version,
                "question": recorded.open.model_dump(mode="json", exclude_defaults=True),
                "personal": recorded.personal.model_dump(mode="json", exclude_defaults=True),
                "answer": Answer.of(outcome).model_dump(mode="json", exclude_defaults=True),
            }
        )

    async def write(self, connection: AsyncConnection) -> None:
        """Write what was recorded, in the unit's transaction."""
        await insert_rows(connection, tables.decisions, self._recorded)
        self._recorded = []
