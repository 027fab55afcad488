"""Default deny: which agreement covers a share."""

from collections.abc import Iterable
from datetime import date, datetime

from imex.directory.facts import Coverage
from imex.directory.index import DirectoryIndex, local_time
from imex.directory.model import Agreement

MAX_NEAR_MISSES = 5
"""Near misses told; the rest is counted."""


def covering_agreement(  # noqa: PLR0917 - the six facts that make the question
    index: DirectoryIndex,
    source: str,
    recipient: str,
    purpose: str,
    at: datetime,
    modalities: Iterable[str] = (),
) -> Coverage:
    """The first agreement, in the file's order, that lets ``source`` send to the institution ``recipient``.

    Both dates of an agreement count in full. An agreement limited to modalities covers only studies that have
    no other; with no modalities known (at the C-STORE) that limit is not judged yet.
    """
    day = local_time(at).date()
    having = frozenset(modalities)
    misses: list[str] = []
    for agreement, recipients in index.agreements_from(source):
        if recipient not in recipients or recipient == source:
            continue
        lacking = _lacking(agreement, purpose, day, having)
        if not lacking:
            return Coverage(agreement, f"agreement {agreement.id}: {agreement.legal_basis}")
        misses.append(f"agreement {agreement.id} {' and '.join(lacking)}")
    if not misses and any(source in to for _, to in index.agreements_from(recipient)):
        misses.append(f"there is one only from {recipient} to {source}")
    words = f"no agreement covers {source} to {recipient} for {purpose}"
    if misses:
        more = len(misses) - MAX_NEAR_MISSES
        words += f": {'; '.join(misses[:MAX_NEAR_MISSES])}" + (f"; and {more} more" if more > 0 else "")
    return Coverage(None, words, tuple(misses))


def _lacking(agreement: Agreement, purpose: str, day: date, modalities: frozenset[str]) -> list[str]:
    lacking: list[str] = []
    if purpose not in agreement.purposes:
        lacking.append(f"is for {', '.join(agreement.purposes)} only")
    if agreement.valid_from and day < agreement.valid_from:
        lacking.append(f"begins on {agreement.valid_from}")
    if agreement.valid_until and day > agreement.valid_until:
        lacking.append(f"ended on {agreement.valid_until}")
    if agreement.modalities is not None:
        beyond = modalities - set(agreement.modalities)
        if beyond:
            lacking.append(f"does not include {', '.join(sorted(beyond))}")
    return lacking
