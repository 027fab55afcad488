"""What a changed directory would decide otherwise, in words and study by study. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from imex.directory import DirectoryIndex
from imex.sharing.decide import consider, resting
from imex.sharing.decisions import Open, Outcome, Question, Raise, Widen
from imex.sharing.model import Share
from imex.sharing.recorded import Answer, Decided, KnownShare, RecordedQuestion

Key = tuple[str, str]
"""Recipient and purpose."""

_TERMS = {
    "endpoint": "endpoint",
    "clinician": "clinician",
    "quiet_s": "quiet seconds",
    "completeness": "completeness",
    "escalate": "escalation",
    "priors": "priors",
    "deidentify": "de-identification",
    "controllers": "controllers",
    "processors": "processors",
    "asks_recipient": "acceptance by the recipient",
}


def combined(answers: Iterable[Answer]) -> Answer:
    """What several answers about one study come to: the last word for each recipient and purpose."""
    last: dict[Key, Decided] = {}
    for answer in answers:
        for one in answer.decided:
            key = one.recipient, one.purpose
            if one.action == "spare" and key in last and last[key].lets_it_go:
                continue  # it is spared because it has it
            last[key] = one
    return Answer(decided=tuple(last.values()))


def replay_study(index: DirectoryIndex, questions: Sequence[RecordedQuestion]) -> tuple[Answer, ...]:
    """What a directory would have decided of one study, over all its recorded questions, in their order.

    Each is asked with the shares that this directory would have made by then: those that it would not have
    made are not there, and those that it would have are as far as the recorded ones were.
    """
    made: dict[tuple[str, str, int], Share] = {}
    answers: list[Answer] = []
    for number, recorded in enumerate(questions):
        question = recorded.question()
        real = {_identity(share): share for share in question.shares}
        if number == 0:
            made = dict(real)
        shares = tuple(_as_far(share, real.get(key)) for key, share in made.items())
        asked = replace(question, shares=shares)
        outcome = consider(index, asked)
        answers.append(Answer.of(outcome))
        made = _after(index, asked, outcome)
    return tuple(answers)


def difference(old: Answer, new: Answer) -> tuple[str, ...]:
    """What is decided otherwise in the second of two answers, in words; empty where nothing is."""
    before = {(one.recipient, one.purpose): one for one in old.decided}
    after = {(one.recipient, one.purpose): one for one in new.decided}
    keys = list(dict.fromkeys([*before, *after]))
    found = (_compared(before.get(key), after.get(key)) for key in keys)
    return tuple(words for words in found if words)


def _compared(old: Decided | None, new: Decided | None) -> str:
    went, goes = old is not None and old.lets_it_go, new is not None and new.lets_it_go
    if old is not None and new is not None and went and goes:
        changes = list(_changes(old, new))
        return f"{_for(new)}: {', '.join(changes)}" if changes else ""
    if new is not None and goes:
        before = f"; {_not_gone(old)}" if old is not None else ""
        return f"{_for(new)}: would be shared ({_by(new)}){before}"
    if old is not None and went:
        return f"{_for(old)}: was shared ({_by(old)}); {_not_going(new)}"
    if old is None and new is not None and new.action == "refuse":
        return f"{_for(new)}: would be asked for ({_by(new)}) and refused: {new.reason}"
    if old is not None and new is None and old.action == "refuse":
        return f"{_for(old)}: would not be asked for; it was refused: {old.reason}"
    return ""


def _for(one: Decided) -> str:
    return f"{one.recipient} for {one.purpose}"


def _by(one: Decided) -> str:
    parts = [f"rule {one.rule}" if one.rule else _ORIGINS[one.origin]]
    if one.alternate_of:
        parts.append(f"in the place of {one.alternate_of}")
    if one.agreement:
        parts.append(f"agreement {one.agreement}")
    return ", ".join([*parts, one.priority])


_ORIGINS = {"rule": "a rule", "called": "called AE title", "command": "by hand", "prior": "as a prior"}


def _not_gone(old: Decided) -> str:
    return f"it was withheld: {old.reason}" if old.action == "withhold" else f"it was not: {old.reason}"


def _not_going(new: Decided | None) -> str:
    if new is None:
        return "nothing would ask for it"
    verb = {"refuse": "would be refused", "withhold": "would be withheld"}.get(new.action, "would not be")
    return f"{verb}: {new.reason}"


def _changes(old: Decided, new: Decided) -> Iterable[str]:
    for name, was, now in (
        ("rule", old.rule, new.rule),
        ("agreement", old.agreement, new.agreement),
        ("priority", old.priority, new.priority),
        ("in the place of", old.alternate_of, new.alternate_of),
    ):
        if was != now:
            yield f"{name} {was or 'none'} → {now or 'none'}"
    for term, name in _TERMS.items():
        if old.terms.get(term) != new.terms.get(term):
            yield f"{name} {_said(old.terms.get(term))} → {_said(new.terms.get(term))}"


def _said(value: object) -> str:
    match value:
        case None:
            return "none"
        case dict():
            return " ".join(f"{name} {_said(inside)}" for name, inside in value.items())
        case list():
            return " ".join(map(_said, value))
        case _:
            return str(value)


def _identity(share: Share) -> tuple[str, str, int]:
    return share.recipient, share.purpose, share.episode


def _as_far(share: Share, real: Share | None) -> Share:
    """A share of the replay, as far as the recorded one of the same name was, if both were let go."""
    if real is None or (share.agreement is None) != (real.agreement is None) or not share.live:
        return share
    return replace(share, state=real.state, parts=real.parts)


def _after(index: DirectoryIndex, question: Question, outcome: Outcome) -> dict[tuple[str, str, int], Share]:
    """The shares of a study once an outcome was carried out."""
    shares = {_identity(share): share for share in question.shares}
    for withheld in outcome.withheld:
        shares[_identity(withheld.share)] = replace(withheld.share, state="revoked")
    for rested in outcome.rested:
        shares[_identity(rested.share)] = resting(rested.share, rested.judgement)
    for decision in outcome.planned:
        if isinstance(decision, Raise):
            raised = replace(
                decision.share, priority=decision.addressed.priority, rule=decision.addressed.rule
            )
            shares[_identity(raised)] = raised
        elif isinstance(decision, Widen):
            widened = replace(
                resting(decision.share, decision.judgement), origin=decision.addressed.origin, left_out=None
            )
            shares[_identity(widened)] = widened
        else:
            share = _opened(index, question, decision)
            shares[_identity(share)] = share
    return shares


def _opened(index: DirectoryIndex, question: Question, decision: Open) -> Share:
    wish, judgement = decision.addressed, decision.judgement
    known = KnownShare(
        recipient=wish.recipient,
        purpose=wish.purpose,
        episode=decision.episode,
        passage=question.passage,
        priority=wish.priority,
        origin=wish.origin,
        state="collecting" if judgement.covered else "refused",
        parts=0,
        directory_version=index.version,
        rule=wish.rule,
        agreement=judgement.agreement,
        clinician=wish.clinician,
        alternate_of=wish.alternate_of,
        deidentified=judgement.deidentify is not None,
    )
    return known.share(question.facts.source, question.study_uid, question.at)
