"""Default deny: which agreement covers a wish, and what it demands. Pure."""

from collections.abc import Hashable
from datetime import datetime

from imex.directory import Agreement, DirectoryIndex, StudyFacts
from imex.directory.agreements import Asked, asked_of, first_covering, uncovered
from imex.sharing.decisions import Addressed, Background, Judgement

KEPT = 100_000
"""Judgements kept with a version; then they are forgotten, and taken anew."""


def judge(
    index: DirectoryIndex,
    facts: StudyFacts,
    wish: Addressed,
    at: datetime,
    background: Background,
    *,
    preferred: str | None = None,
) -> Judgement:
    """Which agreement covers this wish, and what it demands; or why none does.

    Of several it is the one `preferred` by its id, else the first of the directory.
    """
    asked = asked_of(wish.purpose, at, facts.modalities, wish.clinician, background.marks)
    return judge_asked(index, facts.source, wish, asked, preferred)


def judge_asked(
    index: DirectoryIndex, source: str, wish: Addressed, asked: Asked, preferred: str | None = None
) -> Judgement:
    """`judge`, where the same is asked for several recipients."""
    agreement = first_covering(index, source, wish.recipient, asked, preferred)
    kept: dict[Hashable, Judgement] = index.kept.setdefault(judge_asked, {})
    # what an agreement allows for a recipient's endpoint is the same for every study, and so is why none does
    if agreement is not None:
        key: Hashable = (agreement.id, wish.recipient, wish.endpoint)
    else:
        key = (source, wish.recipient, wish.endpoint, asked)
    judgement = kept.get(key)
    if judgement is None:
        if len(kept) >= KEPT:
            kept.clear()
        made = _allowed(index, wish, agreement) if agreement else _refused(index, source, wish, asked)
        judgement = kept[key] = made
    return judgement


def _refused(index: DirectoryIndex, source: str, wish: Addressed, asked: Asked) -> Judgement:
    words = uncovered(index, source, wish.recipient, asked).words
    return Judgement(None, None, index.version, words, undeliverable=_undeliverable(index, wish))


def _allowed(index: DirectoryIndex, wish: Addressed, agreement: Agreement) -> Judgement:
    endpoint = index.endpoint_for(wish.recipient, wish.endpoint)
    return Judgement(
        agreement=agreement.id,
        legal_basis=agreement.legal_basis,
        directory_version=index.version,
        reason=f"agreement {agreement.id}: {agreement.legal_basis}",
        asks_recipient=endpoint is not None and endpoint.type == "inbox" and endpoint.acceptance,
        controllers=agreement.controllers,
        processors=agreement.processors,
        deidentify=agreement.deidentify,
        retain=agreement.retain_days,
        undeliverable=_undeliverable(index, wish),
    )


def _undeliverable(index: DirectoryIndex, wish: Addressed) -> str:
    endpoint = index.endpoint_for(wish.recipient, wish.endpoint)
    if endpoint is not None and endpoint.type != "hl7":
        return ""
    named = f"no endpoint {wish.endpoint!r}" if wish.endpoint else "no endpoint"
    return f"{wish.recipient} has {named} in the directory"
