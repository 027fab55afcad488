"""A decision with all its reasons: every rule that fires and that does not, every agreement and alternate.

Computed only when somebody asks. Reasons quote the directory, never the study's texts. Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from imex.directory import (
    AgreementTold,
    DirectoryIndex,
    Rule,
    RuleMatch,
    agreements_told,
    asked_of,
    matching_rules,
)
from imex.sharing.decide import consider
from imex.sharing.decisions import Addressed, Judgement, Open, Outcome, Question, Raise, Widen
from imex.sharing.judging import judge
from imex.sharing.recorded import Answer
from imex.sharing.wishes import rule_wish, why_instead


@dataclass(frozen=True, slots=True)
class AlternateTold:
    """What one alternate of a rule says for one of its recipients."""

    recipient: str
    if_: str
    to: tuple[str, ...]
    holds: bool
    words: str


@dataclass(frozen=True, slots=True)
class RuleTold:
    """What one rule says of a study."""

    rule: Rule
    matched: bool
    reasons: tuple[str, ...]
    recipients: tuple[str, ...]
    alternates: tuple[AlternateTold, ...]


@dataclass(frozen=True, slots=True)
class WishTold:
    """What becomes of one wish, and what every agreement between source and recipient says of it."""

    addressed: Addressed
    action: str
    """share | refuse | raise | widen | spare."""
    words: str
    judgement: Judgement
    agreements: tuple[AgreementTold, ...]


@dataclass(frozen=True, slots=True)
class Explained:
    """An outcome with its reasons."""

    question: Question
    outcome: Outcome
    rules: tuple[RuleTold, ...]
    wishes: tuple[WishTold, ...]

    @property
    def answer(self) -> Answer:
        """The outcome, as it is recorded."""
        return Answer.of(self.outcome)


def explain(index: DirectoryIndex, question: Question) -> Explained:
    """What is decided of a question, why, and why not otherwise."""
    outcome = consider(index, question)
    rules = matching_rules(index, question.facts) if question.standing else ()
    told = tuple(_rule(index, question, match) for match in rules)
    return Explained(question, outcome, told, tuple(_wishes(index, question, outcome)))


def _rule(index: DirectoryIndex, question: Question, match: RuleMatch) -> RuleTold:
    alternates = [
        _alternate(index, question, match.rule, number, recipient)
        for recipient in match.recipients
        for number in range(len(match.rule.alternates))
    ]
    return RuleTold(match.rule, match.matched, match.reasons, match.recipients, tuple(alternates))


def _alternate(
    index: DirectoryIndex, question: Question, rule: Rule, number: int, recipient: str
) -> AlternateTold:
    alternate = rule.alternates[number]
    why = why_instead(index, question, alternate, rule_wish(rule, recipient))
    words = why or f"{recipient} is not {alternate.if_}"
    return AlternateTold(recipient, alternate.if_, tuple(alternate.to), why is not None, words)


def _wishes(index: DirectoryIndex, question: Question, outcome: Outcome) -> Iterator[WishTold]:
    for decision in outcome.planned:
        match decision:
            case Open(wish, judgement):
                action = "share" if judgement.covered else "refuse"
                yield _told(index, question, wish, action, judgement.reason)
            case Raise(share, wish):
                words = f"a share that is there is raised from {share.priority} to {wish.priority}"
                yield _told(index, question, wish, "raise", words)
            case Widen(_, wish):
                words = "a share that returns results carries the whole study from now on"
                yield _told(index, question, wish, "widen", words)
    for spared in outcome.spared:
        yield _told(index, question, spared.addressed, "spare", spared.reason)


def _told(index: DirectoryIndex, question: Question, wish: Addressed, action: str, words: str) -> WishTold:
    facts, background = question.facts_for(wish.origin), question.background
    asked = asked_of(wish.purpose, question.at, facts.modalities, wish.clinician, background.marks)
    return WishTold(
        wish,
        action,
        words,
        judge(index, facts, wish, question.at, background),
        agreements_told(index, facts.source, wish.recipient, asked),
    )


def as_json(explained: Explained) -> dict[str, Any]:
    """Plain values: `items` are the rules, `shares` what comes of the study."""
    facts, at = explained.question.facts, explained.question.at
    decided = {
        (one.recipient, one.purpose): one.model_dump(mode="json")
        for one in explained.answer.decided
        if one.action not in {"withhold", "rest"}
    }
    return {
        "source": facts.source,
        "modalities": sorted(facts.modalities),
        "at": at.isoformat(),
        "items": [_rule_json(one) for one in explained.rules],
        "shares": [
            {
                **decided[one.addressed.recipient, one.addressed.purpose],
                "words": one.words,
                "undeliverable": one.judgement.undeliverable or None,
                "agreements": [
                    {"agreement": told.agreement.id, "covers": told.covers, "lacking": list(told.lacking)}
                    for told in one.agreements
                ],
            }
            for one in explained.wishes
        ],
    }


def _rule_json(told: RuleTold) -> dict[str, Any]:
    rule = told.rule
    return {
        "rule": rule.id,
        "matched": told.matched,
        "reasons": list(told.reasons),
        "purpose": rule.purpose,
        "priority": rule.priority.value,
        "recipients": list(told.recipients),
        "alternates": [
            {
                "recipient": one.recipient,
                "if": one.if_,
                "to": list(one.to),
                "holds": one.holds,
                "words": one.words,
            }
            for one in told.alternates
        ],
    }
