"""Who gets a study, and on which agreement. Pure: a question and a directory in, decisions out."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from imex.directory import DirectoryIndex, StudyFacts
from imex.directory.agreements import Asked, asked_of
from imex.sharing.decisions import (
    Addressed,
    Judgement,
    Open,
    Outcome,
    Question,
    Raise,
    Rest,
    Spared,
    Widen,
    Withhold,
)
from imex.sharing.judging import judge, judge_asked
from imex.sharing.model import Share, Study
from imex.sharing.wishes import MIXED, RANK, latest, wishes_of


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
    ask for is planned, with those shares as they then are. What is asked for by hand, or for a prior that
    travels along, is made at once also where an earlier share of it has ended.
    """
    withheld, rested = _hold(index, question) if question.shares else ((), ())
    shares: Sequence[Share] = question.shares
    ended = {one.share.id for one in withheld}
    if withheld:
        shares = [replace(one, state="revoked") if one.id in ended else one for one in shares]
    left = replace(question, shares=tuple(shares)) if withheld else question
    if (wish := left.by_hand) is not None:
        known = latest(shares, wish.recipient, wish.purpose)
        if known is not None and known.live:
            return Outcome(withheld, rested, tuple(_widened(index, left, wish, known)))
        if wish.unless_held and _holds(left, wish.recipient):
            return Outcome(withheld, rested, spared=(_spared(wish),))
        judgement = judge(index, left.facts, wish, left.at, left.background)
        made = Open(wish, judgement, episode=known.episode + 1 if known else 1)
        return Outcome(withheld, rested, (made,))
    wishes, spared = wishes_of(index, left)
    planned: list[Open | Raise | Widen] = []
    asked: dict[tuple[str, str | None, bool], Asked] = {}
    for wish in wishes:
        known = latest(shares, wish.recipient, wish.purpose) if shares else None
        if wish.unless_held and (known is None or not known.live) and _holds(left, wish.recipient):
            spared.append(_spared(wish))
        elif known is None:
            of_all = wish.purpose, wish.clinician, wish.origin == "return"
            what = asked.get(of_all) or asked.setdefault(of_all, _asked(left, wish))
            planned.append(Open(wish, judge_asked(index, left.facts.source, wish, what), 1))
        else:
            planned += _planned_again(index, left, wish, known, withheld=known.id in ended)
    return Outcome(withheld, rested, tuple(planned), tuple(spared))


def _hold(index: DirectoryIndex, question: Question) -> tuple[tuple[Withhold, ...], tuple[Rest, ...]]:
    """What becomes of the shares that live, with all that is now known.

    Its own agreement carries a share as long as it can, then any other; but none that asks for what should
    have been done from the beginning, once something was handed over. Where nothing has come in and nothing
    is asked for, what was delivered stays delivered. What failed is held to it too, as it may be tried again.
    """
    withheld: list[Withhold] = []
    rested: list[Rest] = []
    asks = question.standing or question.recipients or question.by_hand is not None
    mixed = {one.origin for one in question.background.returning if one.mixed}
    for share in question.shares:
        failed = share.state == "failed" and share.parts > 0
        if not (share.live or failed) or share.agreement is None:
            continue
        if share.state == "delivered" and not asks:
            continue
        if share.origin == "return" and share.recipient in mixed:
            withheld.append(Withhold(share, MIXED))
            continue
        wish = Addressed(
            share.recipient, share.purpose, share.priority, share.origin, clinician=share.clinician
        )
        facts = question.facts_for(share.origin)
        judgement = judge(index, facts, wish, question.at, question.background, preferred=share.agreement)
        demanded = judgement.deidentify is not None
        other = judgement.agreement != share.agreement
        if not judgement.covered:
            withheld.append(Withhold(share, judgement.reason))
        elif demanded and not share.deidentified and share.parts:
            before = f"agreement {share.agreement} covers it no more, and what" if other else "what agreement"
            words = f"{before} {judgement.agreement} demands cannot be done to what has begun"
            withheld.append(Withhold(share, words))
        elif failed and other:
            words = (
                f"agreement {share.agreement} covers it no more, and what failed is not tried under another"
            )
            withheld.append(Withhold(share, words))
        elif failed:
            continue
        elif other or (demanded != share.deidentified and not share.parts):
            rested.append(Rest(share, judgement))
    return tuple(withheld), tuple(rested)


def resting(share: Share, judgement: Judgement) -> Share:
    """A share once it rests on what a judgement found; what has begun de-identified stays so."""
    return replace(
        share,
        agreement=judgement.agreement,
        legal_basis=judgement.legal_basis,
        directory_version=judgement.directory_version,
        controllers=judgement.controllers,
        processors=judgement.processors,
        deidentified=judgement.deidentify is not None or (share.deidentified and share.parts > 0),
    )


def _planned_again(
    index: DirectoryIndex, question: Question, wish: Addressed, known: Share, *, withheld: bool
) -> Iterator[Open | Raise | Widen]:
    """What to make of a wish for which there is a share, its newest.

    One that lives, or was delivered, is never made twice. One that has ended gives way to a new episode when
    the study is sent once more; one that no agreement covered, also when a later directory has one that does;
    one that returned results, also when somebody asks for the study by name.
    """
    if known.live and known.origin == "return":
        yield from _widened(index, question, wish, known)
    elif known.live:
        if RANK[wish.priority] > RANK[known.priority] and known.parts == 0:
            yield Raise(known, wish)
    elif _may_reopen(known, question.passage, index.version) or _asks_for_more(wish, known):
        facts = question.facts_for(wish.origin)
        judgement = judge(index, facts, wish, question.at, question.background)
        # a further refusal would tell nobody anything new
        if judgement.covered or not (withheld or _was_uncovered(known)):
            yield Open(wish, judgement, known.episode + 1)


def _widened(
    index: DirectoryIndex, question: Question, wish: Addressed, known: Share
) -> Iterator[Open | Widen]:
    """What is asked for by name is all of a study: also where its results return under a share already."""
    if known.origin != "return" or wish.origin == "return":
        return
    judgement = judge(
        index, question.facts, wish, question.at, question.background, preferred=known.agreement
    )
    if not judgement.covered:
        yield Open(wish, judgement, known.episode + 1)
    elif known.parts == 0 or known.deidentified == (judgement.deidentify is not None):
        yield Widen(known, wish, judgement)


def _spared(wish: Addressed) -> Spared:
    return Spared(wish, f"{wish.recipient} has the study already")


def _asked(question: Question, wish: Addressed) -> Asked:
    facts, marks = question.facts_for(wish.origin), question.background.marks
    return asked_of(wish.purpose, question.at, facts.modalities, wish.clinician, marks)


def _holds(question: Question, recipient: str) -> bool:
    """Whether a recipient has the study: it sent it, or a share of it was delivered to it."""
    return recipient in question.background.held_by or any(
        share.recipient == recipient and share.state == "delivered" for share in question.shares
    )


def _asks_for_more(wish: Addressed, known: Share) -> bool:
    """A return that has ended stands in the way of none that is asked for by name."""
    return known.origin == "return" and wish.origin != "return"


def _was_uncovered(share: Share) -> bool:
    return share.state == "refused" and share.agreement is None


def _may_reopen(share: Share, passage: int, version: str) -> bool:
    if share.passage < passage:
        return True
    return _was_uncovered(share) and share.directory_version != version
