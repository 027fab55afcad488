"""Default deny: which agreement covers a wish, and what it demands. Pure."""

from datetime import datetime

from imex.directory import DirectoryIndex, StudyFacts, covering_agreement
from imex.sharing.decisions import UNMARKED, Addressed, Background, Judgement


def judge(
    index: DirectoryIndex,
    facts: StudyFacts,
    wish: Addressed,
    at: datetime,
    background: Background = UNMARKED,
    *,
    preferred: str | None = None,
) -> Judgement:
    """Which agreement covers this wish, and what it demands; or why none does.

    Of several it is the one `preferred` by its id, else the first of the directory.
    """
    coverage = covering_agreement(
        index,
        facts.source,
        wish.recipient,
        wish.purpose,
        at,
        facts.modalities,
        clinician=wish.clinician,
        marks=background.marks,
        preferred=preferred,
    )
    agreement = coverage.agreement
    endpoint = index.endpoint_for(wish.recipient, wish.endpoint)
    undeliverable = ""
    if endpoint is None:
        named = f"no endpoint {wish.endpoint!r}" if wish.endpoint else "no endpoint"
        undeliverable = f"{wish.recipient} has {named} in the directory"
    if agreement is None:
        return Judgement(None, None, index.version, coverage.words, undeliverable=undeliverable)
    return Judgement(
        agreement=agreement.id,
        legal_basis=agreement.legal_basis,
        directory_version=index.version,
        reason=coverage.words,
        asks_recipient=endpoint is not None and endpoint.type == "inbox" and endpoint.acceptance,
        controllers=agreement.controllers,
        processors=agreement.processors,
        deidentify=agreement.deidentify,
        undeliverable=undeliverable,
    )
