"""Who gets a study, and on which agreement. Pure: facts and a directory in, decisions out."""

from collections.abc import Collection, Sequence
from datetime import datetime

from imex.directory import DIRECT_CARE, DirectoryIndex, StudyFacts, covering_agreement, rules_that_match
from imex.events.envelope import Priority
from imex.sharing.decisions import Addressed, Decision, Judgement, Open, Raise, Withhold
from imex.sharing.model import Share, Study

__all__ = [
    "Addressed",
    "Decision",
    "Judgement",
    "Open",
    "Raise",
    "Withhold",
    "addressed",
    "judge",
    "latest",
    "plan",
    "plan_by_hand",
    "rule_facts",
    "withhold",
]

_RANK: dict[Priority, int] = {"routine": 0, "urgent": 1, "emergency": 2}


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


def addressed(
    index: DirectoryIndex, facts: StudyFacts, *, standing: bool, recipients: Collection[str]
) -> tuple[Addressed, ...]:
    """The recipients of a study, each once for a purpose: standing rules, then explicit recipients.

    Of two wishes for the same recipient and purpose the more urgent one stays; of equals, the first.
    """
    wishes: list[Addressed] = []
    if standing:
        for match in rules_that_match(index, facts):
            rule = match.rule
            wishes += [
                Addressed(
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
                for recipient in match.recipients
            ]
    wishes += [
        Addressed(recipient=recipient, purpose=DIRECT_CARE, priority="routine", origin="called")
        for recipient in index.recipients(sorted(recipients), facts.source)
    ]
    best: dict[tuple[str, str], Addressed] = {}
    for wish in wishes:
        known = best.get((wish.recipient, wish.purpose))
        if known is None or _RANK[wish.priority] > _RANK[known.priority]:
            best[wish.recipient, wish.purpose] = wish
    return tuple(best.values())


def judge(index: DirectoryIndex, facts: StudyFacts, wish: Addressed, at: datetime) -> Judgement:
    """Default deny: which agreement covers this wish, or why none does."""
    coverage = covering_agreement(
        index, facts.source, wish.recipient, wish.purpose, at, sorted(facts.modalities)
    )
    agreement = coverage.agreement
    endpoint = index.endpoint_for(wish.recipient, wish.endpoint)
    return Judgement(
        agreement=agreement.id if agreement else None,
        legal_basis=agreement.legal_basis if agreement else None,
        directory_version=index.version,
        reason=coverage.words,
        asks_recipient=endpoint is not None and endpoint.type == "inbox" and endpoint.acceptance,
        controllers=agreement.controllers if agreement else (),
        processors=agreement.processors if agreement else (),
        deidentify=agreement.deidentify if agreement else None,
    )


def latest(shares: Collection[Share], recipient: str, purpose: str) -> Share | None:
    """The share of the newest episode of one recipient and purpose."""
    of_both = (share for share in shares if (share.recipient, share.purpose) == (recipient, purpose))
    return max(of_both, key=lambda share: share.episode, default=None)


def plan(
    index: DirectoryIndex,
    facts: StudyFacts,
    wishes: Sequence[Addressed],
    shares: Collection[Share],
    *,
    passage: int,
    at: datetime,
) -> tuple[Decision, ...]:
    """What to make of the wishes for a study, given the shares it has.

    A share that lives, or was delivered, is never made twice. One that has ended gives way to a new
    episode when the study is sent once more; one that no agreement covered, also when a later directory
    has one that does.
    """
    decisions: list[Decision] = []
    for wish in wishes:
        known = latest(shares, wish.recipient, wish.purpose)
        if known is None:
            decisions.append(Open(wish, judge(index, facts, wish, at), episode=1))
        elif known.live:
            if _RANK[wish.priority] > _RANK[known.priority] and known.parts == 0:
                decisions.append(Raise(known, wish))
        elif _may_reopen(known, passage, index.version):
            judgement = judge(index, facts, wish, at)
            # a further refusal would tell nobody anything new
            if judgement.covered or not _was_uncovered(known):
                decisions.append(Open(wish, judgement, episode=known.episode + 1))
    return tuple(decisions)


def plan_by_hand(
    index: DirectoryIndex, facts: StudyFacts, wish: Addressed, shares: Collection[Share], at: datetime
) -> Open | None:
    """The share that a person asked for; None where one lives or was delivered already."""
    known = latest(shares, wish.recipient, wish.purpose)
    if known is not None and known.live:
        return None
    return Open(wish, judge(index, facts, wish, at), episode=known.episode + 1 if known else 1)


def withhold(
    index: DirectoryIndex, facts: StudyFacts, shares: Collection[Share], at: datetime
) -> tuple[Withhold, ...]:
    """Shares that the agreements, asked with all that is now known of the study, do not cover."""
    found: list[Withhold] = []
    for share in shares:
        if share.live and share.agreement is not None:
            wish = Addressed(share.recipient, share.purpose, share.priority, share.origin)
            judgement = judge(index, facts, wish, at)
            if not judgement.covered:
                found.append(Withhold(share, judgement.reason))
    return tuple(found)


def _was_uncovered(share: Share) -> bool:
    return share.state == "refused" and share.agreement is None


def _may_reopen(share: Share, passage: int, version: str) -> bool:
    if share.passage < passage:
        return True
    return _was_uncovered(share) and share.directory_version != version
