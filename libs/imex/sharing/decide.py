"""Who gets a study, and on which agreement. Pure: a question and a directory in, decisions out."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from imex.directory import DirectoryIndex, StudyFacts
from imex.directory.agreements import Asked, asked_of
from imex.sharing.decisions import (
    UNMARKED,
    Addressed,
    Background,
    Decision,
    Judgement,
    Open,
    Outcome,
    Question,
    Raise,
    Rest,
    Spared,
    Withhold,
)
from imex.sharing.judging import judge, judge_asked
from imex.sharing.model import Share, Study
from imex.sharing.wishes import RANK, latest, wishes_of

__all__ = [
    "UNMARKED",
    "Addressed",
    "Background",
    "Decision",
    "Judgement",
    "Open",
    "Outcome",
    "Question",
    "Raise",
    "Rest",
    "Spared",
    "Withhold",
    "addressed",
    "consider",
    "judge",
    "latest",
    "plan",
    "plan_by_hand",
    "rule_facts",
    "withhold",
]


def rule_facts(study: Study) -> StudyFacts:
    """A study as rules see it."""
    return StudyFacts(
        source=study.source,
        modalities=study.modalities,
        sop_classes=study.sop_classes,
        body_parts=study.body_parts,
        description=study.study_description,
        series_descriptions=study.series_descriptions,
        called_ae=study.called_ae,
    )


def consider(index: DirectoryIndex, question: Question) -> Outcome:
    """Everything that is to be decided of a study now.

    First the shares that live are held to what is now known; then what rules, called AE titles, or a person
    ask for is planned, with those shares as they then are.
    """
    withheld, rested = _hold(index, question) if question.shares else ((), ())
    shares: Sequence[Share] = question.shares
    if withheld:
        ended = {one.share.id for one in withheld}
        shares = [replace(one, state="revoked") if one.id in ended else one for one in shares]
    if question.by_hand is not None:
        made = plan_by_hand(
            index, question.facts, question.by_hand, shares, question.at, background=question.background
        )
        return Outcome(withheld, rested, (made,) if made else ())
    left = replace(question, shares=tuple(shares)) if withheld else question
    wishes, spared = wishes_of(index, left)
    planned: list[Open | Raise] = []
    asked: dict[tuple[str, str | None], Asked] = {}
    for wish in wishes:
        known = latest(shares, wish.recipient, wish.purpose) if shares else None
        if wish.unless_held and (known is None or not known.live) and _holds(left, wish.recipient):
            spared.append(Spared(wish, f"{wish.recipient} has the study already"))
        elif known is None:
            of_all = wish.purpose, wish.clinician
            what = asked.get(of_all) or asked.setdefault(of_all, _asked(left, wish))
            planned.append(Open(wish, judge_asked(index, left.facts.source, wish, what), 1))
        elif (decision := _plan_one(index, left, wish, known)) is not None:
            planned.append(decision)
    return Outcome(withheld, rested, tuple(planned), tuple(spared))


def addressed(
    index: DirectoryIndex, facts: StudyFacts, *, standing: bool, recipients: Collection[str], at: datetime
) -> tuple[Addressed, ...]:
    """The wishes for a study that has no shares yet and was nowhere before."""
    wishes, _ = wishes_of(
        index,
        Question("", facts, at, passage=1, standing=standing, recipients=frozenset(recipients)),
    )
    return wishes


def plan(
    index: DirectoryIndex,
    facts: StudyFacts,
    wishes: Sequence[Addressed],
    shares: Collection[Share],
    *,
    passage: int,
    at: datetime,
    background: Background = UNMARKED,
) -> tuple[Open | Raise, ...]:
    """What to make of the wishes for a study, given the shares it has.

    A share that lives, or was delivered, is never made twice. One that has ended gives way to a new
    episode when the study is sent once more; one that no agreement covered, also when a later directory
    has one that does.
    """
    question = Question("", facts, at, passage, background=background)
    made = (_plan_one(index, question, wish, latest(shares, wish.recipient, wish.purpose)) for wish in wishes)
    return tuple(one for one in made if one is not None)


def plan_by_hand(
    index: DirectoryIndex,
    facts: StudyFacts,
    wish: Addressed,
    shares: Collection[Share],
    at: datetime,
    *,
    background: Background = UNMARKED,
) -> Open | None:
    """The share that a person asked for; None where one lives or was delivered already."""
    known = latest(shares, wish.recipient, wish.purpose)
    if known is not None and known.live:
        return None
    judgement = judge(index, facts, wish, at, background)
    return Open(wish, judgement, episode=known.episode + 1 if known else 1)


def withhold(
    index: DirectoryIndex,
    facts: StudyFacts,
    shares: Collection[Share],
    at: datetime,
    *,
    background: Background = UNMARKED,
) -> tuple[Withhold, ...]:
    """Shares that the agreements, asked with all that is now known of the study, do not cover."""
    withheld, _ = _hold(index, Question("", facts, at, 1, background=background, shares=tuple(shares)))
    return withheld


def _hold(index: DirectoryIndex, question: Question) -> tuple[tuple[Withhold, ...], tuple[Rest, ...]]:
    """What becomes of the shares that live, with all that is now known.

    Its own agreement carries a share as long as it can; then any other that asks for nothing which should
    have been done from the beginning.
    """
    withheld: list[Withhold] = []
    rested: list[Rest] = []
    for share in question.shares:
        if not share.live or share.agreement is None:
            continue
        wish = Addressed(share.recipient, share.purpose, share.priority, share.origin)
        judgement = judge(
            index, question.facts, wish, question.at, question.background, preferred=share.agreement
        )
        if not judgement.covered:
            withheld.append(Withhold(share, judgement.reason))
        elif judgement.agreement != share.agreement:
            if judgement.deidentify is None:
                rested.append(Rest(share, judgement))
            else:
                words = f"agreement {share.agreement} covers it no more, and what {judgement.agreement}"
                withheld.append(Withhold(share, f"{words} demands cannot be done to what has begun"))
    return tuple(withheld), tuple(rested)


def _plan_one(
    index: DirectoryIndex, question: Question, wish: Addressed, known: Share | None
) -> Open | Raise | None:
    episode = 1
    if known is not None:
        if known.live:
            more_urgent = RANK[wish.priority] > RANK[known.priority] and known.parts == 0
            return Raise(known, wish) if more_urgent else None
        if not _may_reopen(known, question.passage, index.version):
            return None
        episode = known.episode + 1
    judgement = judge(index, question.facts, wish, question.at, question.background)
    if known is not None and not judgement.covered and _was_uncovered(known):
        return None  # a further refusal would tell nobody anything new
    return Open(wish, judgement, episode)


def _asked(question: Question, wish: Addressed) -> Asked:
    facts, marks = question.facts, question.background.marks
    return asked_of(wish.purpose, question.at, facts.modalities, wish.clinician, marks)


def _holds(question: Question, recipient: str) -> bool:
    """Whether a recipient has the study: it sent it, or a share of it was delivered to it."""
    return recipient in question.background.held_by or any(
        share.recipient == recipient and share.state == "delivered" for share in question.shares
    )


def _was_uncovered(share: Share) -> bool:
    return share.state == "refused" and share.agreement is None


def _may_reopen(share: Share, passage: int, version: str) -> bool:
    if share.passage < passage:
        return True
    return _was_uncovered(share) and share.directory_version != version
