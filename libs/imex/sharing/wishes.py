"""From rules and called AE titles to wishes: recipients, alternates, and what is not asked for. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from imex.directory import (
    DIRECT_CARE,
    Alternate,
    Completeness,
    DirectoryIndex,
    Rule,
    firing_rules,
    is_open,
)
from imex.directory.selection import Filed
from imex.events.envelope import Priority
from imex.sharing.decisions import Addressed, Question, Returning, Spared
from imex.sharing.judging import judge
from imex.sharing.model import Share

MIXED = (
    "its results are about studies that different institutions have shared, or about too many to tell: "
    "none goes back by itself, a person or the called AE title can send it"
)
"""Why results do not go back."""
RANK: dict[Priority, int] = {"routine": 0, "urgent": 1, "emergency": 2}
"""Which of two priorities is the more urgent one."""


def wishes_of(index: DirectoryIndex, question: Question) -> tuple[tuple[Addressed, ...], list[Spared]]:
    """The recipients of a study, each once for a purpose, and the wishes that are not asked for.

    Standing rules come first, then recipients that the sender named. Of two wishes for the same recipient and
    purpose the more urgent one stays; of equals, the first. Results that were sent to the standing rules go
    back to who shared the study, where nobody sends them there anyway.
    """
    wishes, spared = _wishes_by_name(index, question)
    if question.background.returning and question.standing:
        wishes = (*wishes, *_returns(index, question, wishes, spared))
    return wishes, spared


def _wishes_by_name(index: DirectoryIndex, question: Question) -> tuple[tuple[Addressed, ...], list[Spared]]:
    wishes: list[Addressed] = []
    spared: list[Spared] = []
    facts, been = question.facts, question.background.passed_through
    firing = firing_rules(index, facts) if question.standing else []
    for filed in firing:
        for wish in _wishes(index, filed):
            recipient = wish.recipient
            if recipient == facts.source:
                continue
            if recipient in been:
                spared.append(Spared(wish, _came_from(recipient, facts.source)))
            elif filed.rule.alternates:
                wishes += _placed(index, question, filed.rule.alternates, wish)
            else:
                wishes.append(wish)
    if question.recipients:
        wishes += [
            Addressed(recipient=recipient, purpose=DIRECT_CARE, priority="routine", origin="called")
            for recipient in index.recipients(sorted(question.recipients), facts.source)
        ]
    if len(firing) + len(question.recipients) < 2 and not any(one.rule.alternates for one in firing):
        return tuple(wishes), spared  # nobody can be named twice
    best: dict[tuple[str, str], Addressed] = {}
    for wish in wishes:
        key = wish.recipient, wish.purpose
        known = best.get(key)
        best[key] = wish if known is None else _joined(known, wish)
    return tuple(best.values()), spared


def _returns(
    index: DirectoryIndex, question: Question, wishes: Sequence[Addressed], spared: list[Spared]
) -> list[Addressed]:
    """Results, to who shared the study.

    `spared` has what nothing covers, unless an agreement asks for it, and what is somebody else's too: a
    share of that, even a refused one, would tell of it.
    """
    there = {wish.recipient for wish in wishes} | {one.recipient for one in question.shares if one.live}
    found: list[Addressed] = []
    for one in question.background.returning:
        forward = index.agreement(one.agreement)
        said = forward.returns if forward else None
        if one.origin in there or not one.fresh or said == "addressed":
            continue
        wish = _return(one, question.facts.source)
        if one.mixed:
            spared.append(Spared(wish, MIXED))
            continue
        if said != "automatic":
            facts = question.facts_for("return")
            judgement = judge(index, facts, wish, question.at, question.background)
            if not judgement.covered:
                spared.append(Spared(wish, judgement.reason))
                continue
        found.append(wish)
    return found


def _return(one: Returning, source: str) -> Addressed:
    return Addressed(
        recipient=one.origin,
        purpose=one.purpose,
        priority=one.priority,
        origin="return",
        quiet_s=one.quiet_s,
        completeness=Completeness(expected=False),
        because=f"brings back what {source} made of share {one.share}",
    )


def latest(shares: Iterable[Share], recipient: str, purpose: str) -> Share | None:
    """The share of the newest episode of one recipient and purpose."""
    of_both = (share for share in shares if share.recipient == recipient and share.purpose == purpose)
    return max(of_both, key=lambda share: share.episode, default=None)


def why_instead(
    index: DirectoryIndex, question: Question, alternate: Alternate, wish: Addressed
) -> str | None:
    """Why an alternate takes the place of a wish's recipient, in words; None where its condition fails."""
    facts, at = question.facts, question.at
    if alternate.if_ == "uncovered":
        judgement = judge(index, facts, wish, at, question.background)
        return None if judgement.covered else judgement.reason
    endpoint = index.endpoint_for(wish.recipient, wish.endpoint)
    if endpoint is None:
        return f"{wish.recipient} has no endpoint {wish.endpoint or ''}".rstrip()
    if alternate.if_ == "closed":
        if is_open(endpoint, at):
            return None
        return f"{wish.recipient}'s endpoint {endpoint.name} is closed outside {endpoint.accepts.hours}"
    accepted = endpoint.accepts.sop_classes
    if accepted is None or not facts.sop_classes or not facts.sop_classes.isdisjoint(accepted):
        return None
    return f"{wish.recipient}'s endpoint {endpoint.name} takes none of the study's SOP classes"


def _wishes(index: DirectoryIndex, filed: Filed) -> tuple[Addressed, ...]:
    """What a rule asks for where it fires: the same for every study, so it is kept with the version."""
    found: tuple[Addressed, ...] | None = index.kept.get(filed)
    if found is None:
        found = index.kept[filed] = tuple(rule_wish(filed.rule, recipient) for recipient in filed.recipients)
    return found


def rule_wish(rule: Rule, recipient: str) -> Addressed:
    """What a rule asks for, for one of its recipients."""
    return Addressed(
        recipient=recipient,
        purpose=rule.purpose,
        priority=rule.priority.value,
        origin="rule",
        rule=rule.id,
        quiet_s=rule.quiet_s,
        endpoint=rule.endpoint,
        clinician=rule.clinician,
        completeness=rule.completeness,
        escalate=rule.escalate,
        priors=rule.priors,
        unless_held=rule.unless_held,
    )


def _placed(
    index: DirectoryIndex, question: Question, alternates: Sequence[Alternate], wish: Addressed
) -> list[Addressed]:
    """The wish, or those for who gets the study in its recipient's place.

    It is the first alternate whose condition holds and whom an agreement lets have it; where there is none
    the recipient stays, so that nothing is lost by an alternate. What was once begun stays where it is: a
    share that lives with one of them is not followed by another when the hour has struck.
    """
    begun = [
        share
        for share in question.shares
        if share.live and share.purpose == wish.purpose and share.passage >= question.passage
    ]
    if any(share.recipient == wish.recipient for share in begun):
        return [wish]
    taken = {share.recipient for share in begun if share.alternate_of == wish.recipient}
    if taken:
        return [_instead(wish, other, "as it was begun") for other in sorted(taken)]
    for alternate in alternates:
        others = _others(index, question, alternate, wish.recipient)
        why = why_instead(index, question, alternate, wish)
        if why is None:
            continue
        instead = [_instead(wish, other, why) for other in others]
        covered = [one for one in instead if _covered(index, question, one)]
        if covered:
            return covered
    return [wish]


def _covered(index: DirectoryIndex, question: Question, wish: Addressed) -> bool:
    return judge(index, question.facts, wish, question.at, question.background).covered


def _others(index: DirectoryIndex, question: Question, alternate: Alternate, recipient: str) -> list[str]:
    been = question.background.passed_through
    return [
        one
        for one in index.recipients(alternate.to, question.facts.source)
        if one != recipient and one not in been
    ]


def _instead(wish: Addressed, other: str, because: str) -> Addressed:
    return replace(wish, recipient=other, endpoint=None, alternate_of=wish.recipient, because=because)


def _joined(first: Addressed, second: Addressed) -> Addressed:
    """One wish of two for the same recipient and purpose.

    The less urgent one still says what the other leaves open: whom it is for, and which priors go along.
    """
    leading, other = (second, first) if RANK[second.priority] > RANK[first.priority] else (first, second)
    clinician, priors = leading.clinician or other.clinician, leading.priors or other.priors
    unless_held = leading.unless_held and other.unless_held
    if (clinician, priors, unless_held) == (leading.clinician, leading.priors, leading.unless_held):
        return leading
    return replace(leading, clinician=clinician, priors=priors, unless_held=unless_held)


def _came_from(recipient: str, source: str) -> str:
    return (
        f"it came from {recipient} to {source} through Imex: a rule never sends it back, "
        "a person or the called AE title can"
    )
