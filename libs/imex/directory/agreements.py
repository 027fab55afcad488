"""Default deny: which agreement covers a share, and why each other does not."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from imex.directory.facts import Coverage, Marks
from imex.directory.index import DirectoryIndex, local_time
from imex.directory.model import Agreement
from imex.directory.policies import LEGAL_DUTIES, PURPOSES_OF_CARE

MAX_NEAR_MISSES = 5
"""Near misses told in a share's reason; the rest is counted."""

_EXEMPT = PURPOSES_OF_CARE | LEGAL_DUTIES


class Asked(NamedTuple):
    """What is asked of the agreements between two institutions."""

    purpose: str
    day: date
    having: frozenset[str]
    clinician: str | None
    marks: Marks | None


@dataclass(frozen=True, slots=True)
class AgreementTold:
    """What one agreement between a source and a recipient says of a share."""

    agreement: Agreement
    lacking: tuple[str, ...]
    """What it wants and the share has not, in words; empty where it covers it."""

    @property
    def covers(self) -> bool:
        """Whether nothing is lacking."""
        return not self.lacking


def asked_of(
    purpose: str, at: datetime, modalities: Iterable[str], clinician: str | None, marks: Marks | None
) -> Asked:
    """The question to the agreements; see `covering_agreement`. Blanks and points name no clinician."""
    named = clinician if clinician and any(map(str.isalnum, clinician)) else None
    return Asked(purpose, local_time(at).date(), frozenset(modalities), named, marks)


def first_covering(
    index: DirectoryIndex, source: str, recipient: str, asked: Asked, preferred: str | None = None
) -> Agreement | None:
    """The agreement that lets a study go, without words: this is asked for every share."""
    between = index.agreements_between(source, recipient)
    for agreement in sorted(between, key=lambda one: one.id != preferred) if preferred else between:
        if _covers(agreement, asked):
            return agreement
    return None


def covering_agreement(  # noqa: PLR0917 - the six facts that make the question
    index: DirectoryIndex,
    source: str,
    recipient: str,
    purpose: str,
    at: datetime,
    modalities: Iterable[str] = (),
    *,
    clinician: str | None = None,
    marks: Marks | None = None,
) -> Coverage:
    """The first agreement, in the file's order, that lets ``source`` send to the institution ``recipient``.

    Both dates of an agreement count in full. An agreement limited to modalities covers only studies that have
    no other. At the C-STORE neither modalities nor ``marks`` are known (empty, None) and what depends on them
    is not judged yet; a `Marks` that could not be looked up counts against it.
    """
    asked = asked_of(purpose, at, modalities, clinician, marks)
    agreement = first_covering(index, source, recipient, asked)
    if agreement is not None:
        return Coverage(agreement, f"agreement {agreement.id}: {agreement.legal_basis}")
    return uncovered(index, source, recipient, asked)


def uncovered(index: DirectoryIndex, source: str, recipient: str, asked: Asked) -> Coverage:
    """Why no agreement covers it, in words: each that there is between the two, and what it lacks."""
    between = index.agreements_between(source, recipient)
    misses = [f"agreement {one.id} {' and '.join(_lacking(one, asked))}" for one in between]
    if not between and index.agreements_between(recipient, source):
        misses.append(f"there is one only from {recipient} to {source}")
    words = f"no agreement covers {source} to {recipient} for {asked.purpose}"
    if misses:
        more = len(misses) - MAX_NEAR_MISSES
        words += f": {'; '.join(misses[:MAX_NEAR_MISSES])}" + (f"; and {more} more" if more > 0 else "")
    return Coverage(None, words, tuple(misses))


def agreements_told(
    index: DirectoryIndex, source: str, recipient: str, asked: Asked
) -> tuple[AgreementTold, ...]:
    """What every agreement from ``source`` to ``recipient`` says of a share, in the file's order."""
    return tuple(
        AgreementTold(agreement, tuple(_lacking(agreement, asked)))
        for agreement in index.agreements_between(source, recipient)
    )


def opt_out_applies(agreement: Agreement, purpose: str) -> bool:
    """Whether the national data opt-out keeps a person's data from going under an agreement.

    As the agreement says; where it says nothing, for every purpose but care and what the law demands.
    """
    if agreement.opt_out is not None:
        return agreement.opt_out == "applies"
    return purpose not in _EXEMPT


def may_ever_cover(
    agreement: Agreement, purpose: str, day: date, modalities: frozenset[str] | None, clinician: str | None
) -> bool:
    """Whether some study with one of these modalities (None: any) could go under an agreement on that day."""
    studies = [frozenset({one}) for one in modalities] if modalities is not None else [frozenset[str]()]
    return any(_covers(agreement, Asked(purpose, day, having, clinician, None)) for having in studies)


def _covers(agreement: Agreement, asked: Asked) -> bool:
    """Whether `_lacking` would find nothing, without its words: this is asked for every share."""
    return (
        asked.purpose in agreement.purposes
        and (agreement.valid_from is None or agreement.valid_from <= asked.day)
        and (agreement.valid_until is None or asked.day <= agreement.valid_until)
        and (agreement.modalities is None or asked.having.issubset(agreement.modalities))
        and (asked.clinician is not None or not agreement.clinician_required)
        and (
            asked.marks is None
            or (
                (asked.marks.sensitive is False or agreement.sensitive)
                and (asked.marks.opted_out is False or not opt_out_applies(agreement, asked.purpose))
            )
        )
    )


def _lacking(agreement: Agreement, asked: Asked) -> list[str]:
    lacking: list[str] = []
    if asked.purpose not in agreement.purposes:
        lacking.append(f"is for {', '.join(agreement.purposes)} only")
    if agreement.valid_from and asked.day < agreement.valid_from:
        lacking.append(f"begins on {agreement.valid_from}")
    if agreement.valid_until and asked.day > agreement.valid_until:
        lacking.append(f"ended on {agreement.valid_until}")
    if agreement.modalities is not None:
        beyond = asked.having - set(agreement.modalities)
        if beyond:
            lacking.append(f"does not include {', '.join(sorted(beyond))}")
    if agreement.clinician_required and asked.clinician is None:
        lacking.append("asks for a named clinician at the recipient")
    if asked.marks is not None:
        lacking += _marked(agreement, asked.purpose, asked.marks)
    return lacking


_SENSITIVE = "does not include records that are marked as sensitive"
_MAYBE_SENSITIVE = "does not include sensitive records, and whether this is one could not be looked up"
_OPTED_OUT = "respects the national data opt-out, which this person has chosen"
_MAYBE_OPTED_OUT = "respects the national data opt-out, which could not be looked up for this person"
_OF_MARKS = (_SENSITIVE, _MAYBE_SENSITIVE, _OPTED_OUT, _MAYBE_OPTED_OUT)


def _marked(agreement: Agreement, purpose: str, marks: Marks) -> list[str]:
    lacking: list[str] = []
    if marks.sensitive is not False and not agreement.sensitive:
        lacking.append(_SENSITIVE if marks.sensitive else _MAYBE_SENSITIVE)
    if marks.opted_out is not False and opt_out_applies(agreement, purpose):
        lacking.append(_OPTED_OUT if marks.opted_out else _MAYBE_OPTED_OUT)
    return lacking


def discreet(reason: str) -> str:
    """A reason as others than the source may read it: without what is marked of the person's record."""
    return reason.partition(":")[0] if any(words in reason for words in _OF_MARKS) else reason
