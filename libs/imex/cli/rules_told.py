"""A decision with its reasons, as lines for people."""

from collections.abc import Iterator

from imex.sharing.explained import Explained, RuleTold, WishTold

_OUTCOMES = {
    "share": "allowed",
    "refuse": "REFUSED",
    "raise": "raised",
    "spare": "not sent",
}

_SPELT_OUT = 20
"""Rules for other sources that are spelt out; of more only the number is told."""


def lines(explained: Explained) -> Iterator[str]:
    """First the rules, each with what decided it; then what comes of the study."""
    facts = explained.question.facts
    yield f"From {facts.source}, modalities {', '.join(sorted(facts.modalities)) or '(none)'}:"
    elsewhere = [rule for rule in explained.rules if _is_elsewhere(rule)]
    brief = len(elsewhere) > _SPELT_OUT
    for rule in explained.rules:
        if not (brief and _is_elsewhere(rule)):
            yield from _rule(rule)
    if brief:
        yield f"no     {len(elsewhere)} more: they are for other sources (--json has each of them)"
    if explained.question.standing and not any(rule.matched for rule in explained.rules):
        yield "No rule would fire: the study would be listed to its sender, to be shared by hand."
    elif not explained.wishes:
        yield "It would go to nobody."
    else:
        yield "What comes of it:"
    for wish in explained.wishes:
        yield from _wish(wish)


def _is_elsewhere(told: RuleTold) -> bool:
    return any(reason.startswith("source ") for reason in told.reasons) and not told.matched


def _rule(told: RuleTold) -> Iterator[str]:
    yield f"{'FIRES' if told.matched else 'no   '}  {told.rule.id}"
    for reason in told.reasons:
        yield f"         {reason}"
    for alternate in told.alternates:
        to = ", ".join(alternate.to)
        holds = "" if alternate.holds else "does not apply: "
        yield f"         {to} instead of {alternate.recipient} if {alternate.if_}: {holds}{alternate.words}"


def _wish(told: WishTold) -> Iterator[str]:
    wish, outcome = told.addressed, _OUTCOMES[told.action]
    by = f"rule {wish.rule}" if wish.rule else "called AE title"
    yield f"  → {wish.recipient} for {wish.purpose} ({wish.priority}, {by}): {outcome}, {told.words}"
    if wish.alternate_of:
        yield f"       in the place of {wish.alternate_of}: {wish.because}"
    if told.action != "refuse":
        yield from (f"       {line}" for line in _terms(told))
    for agreement in told.agreements:
        if not agreement.covers and told.action != "refuse":
            yield f"       not by agreement {agreement.agreement.id}: {' and '.join(agreement.lacking)}"
    others = [one.agreement.id for one in told.agreements if one.covers][1:]
    if others:
        yield f"       also covered, further down in the directory, by {', '.join(others)}"


def _terms(told: WishTold) -> Iterator[str]:
    wish, judgement = told.addressed, told.judgement
    if judgement.deidentify:
        options = ", ".join(judgement.deidentify.options)
        yield f"de-identified for project {judgement.deidentify.project}" + (
            f" with {options}" if options else ""
        )
    if judgement.controllers or judgement.processors:
        roles = (("controller", judgement.controllers), ("processor", judgement.processors))
        yield "; ".join(f"{role} {', '.join(codes)}" for role, codes in roles if codes)
    if judgement.asks_recipient:
        yield f"waits until {wish.recipient} accepts it"
    if judgement.undeliverable:
        yield f"could not be delivered: {judgement.undeliverable}"
    if wish.clinician:
        yield f"for {wish.clinician}"
    yield from _whole(told)
    if wish.priors:
        days, modality = wish.priors.within_days, wish.priors.modality
        kinds = modality if isinstance(modality, str) else ", ".join(modality)
        yield f"with up to {wish.priors.count} earlier studies of the last {days} days ({kinds} modality)"
    if wish.escalate:
        to, after = wish.escalate.to.value, wish.escalate.after_s
        yield f"becomes {to} if not delivered {after} s after its first instance"
    if wish.unless_held:
        yield "only where the recipient has it not already"


def _whole(told: WishTold) -> Iterator[str]:
    wish, whole = told.addressed, told.addressed.completeness
    if wish.priority == "emergency":
        yield "sent instance by instance, without waiting for the rest"
        return
    quiet = "the default quiet period" if wish.quiet_s is None else f"{wish.quiet_s} s of quiet"
    said = [f"after {quiet}"]
    if whole.expected:
        said.append("or when as many have come as the sender states")
    if whole.required_series:
        said.append(f"once {whole.required_series}")
    if whole.at_most_s is not None:
        said.append(f"at the latest {whole.at_most_s} s after its first instance")
    yield f"whole {', '.join(said)}"
