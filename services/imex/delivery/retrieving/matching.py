"""Which studies of an archive a request is about: what is asked, and which answers count. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from imex.dicom import compact, is_nhs_issuer, valid_uid
from imex.events.sealed import SealedWanted
from imex.sharing.persons import person

_NOT_ASKABLE: Final = re.compile(r"[*?\\\x00-\x1f\x7f]")
"""Wildcards and the separator of values (PS3.4 C.2.2.2.4, PS3.5 6.4): they ask for more than is meant."""
_DAY: Final = re.compile(r"[0-9]{8}")


class NotAskable(Exception):
    """Archives cannot be asked for it, in words that name nobody."""


@dataclass(frozen=True, slots=True)
class Within:
    """What the request and the agreements narrow it to; days are YYYYMMDD."""

    modality: str | None = None
    studied_from: str | None = None
    studied_until: str | None = None
    modalities: frozenset[str] | None = None
    """The only ones that an agreement covers; None: any."""

    @property
    def days(self) -> str:
        """As a range of dates (PS3.4 C.2.2.2.5); empty where it may be any day."""
        if self.studied_from is None and self.studied_until is None:
            return ""
        return f"{self.studied_from or ''}-{self.studied_until or ''}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One study, as an archive tells of it. Patient data: never log it."""

    study_uid: str
    patient_id: str = ""
    issuer: str = ""
    accession: str = ""
    day: str = ""
    time: str = ""
    modalities: frozenset[str] = frozenset()
    """Empty where the archive does not say."""
    instances: int | None = None


def keys_of(wanted: SealedWanted) -> tuple[tuple[str, str], ...]:
    """The identifiers to ask for, one question each: keyword and value.

    An NHS number is asked for as it should be stored, and as people write it.

    Raises:
        NotAskable: it would ask for others, too, or for nobody.
    """
    if wanted.study_uid:
        if not valid_uid(wanted.study_uid):
            raise NotAskable("the Study Instance UID that is asked for is none")
        return (("StudyInstanceUID", wanted.study_uid),)
    keyword, value = (
        ("AccessionNumber", wanted.accession.strip())
        if wanted.accession
        else ("PatientID", wanted.patient_id.strip())
    )
    if not value or _NOT_ASKABLE.search(value):
        raise NotAskable("the identifier that is asked for has a wildcard or a control character in it")
    if keyword == "PatientID" and is_nhs_issuer(wanted.issuer):
        digits = compact(value)
        spaced = (digits[:3], digits[3:6], digits[6:])
        return (keyword, digits), (keyword, " ".join(spaced))
    return ((keyword, value),)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What to do about an archive's answers."""

    fetch: tuple[Answer, ...]
    held: tuple[Answer, ...] = ()
    """The archive has no more of them than Imex."""
    uncovered: int = 0
    left_out: int = 0


def choose(  # noqa: PLR0917  what the answers are held against
    answers: Iterable[Answer],
    wanted: SealedWanted,
    within: Within,
    holder: str,
    unissued: str,
    held: Mapping[str, int],
    most: int,
) -> Chosen:
    """The studies that the request is about, the newest.

    Keys that an archive does not know it ignores, so that every answer is compared with what was asked for:
    a person by the qualified Patient ID, as studies here are. `unissued` is whose an identifier without an
    issuer is.
    """
    whose = person(holder, wanted.issuer, wanted.patient_id)
    found: dict[str, Answer] = {}
    uncovered = 0
    for answer in answers:
        if not valid_uid(answer.study_uid) or answer.study_uid in found:
            continue
        if wanted.study_uid:
            meant = answer.study_uid == wanted.study_uid
        elif wanted.accession:
            meant = answer.accession.strip() == wanted.accession.strip()
        else:
            told = person(holder, answer.issuer.strip() or unissued, answer.patient_id)
            meant = told is not None and told == whose
        if not meant or not _is_within(answer, within):
            continue
        if within.modalities is not None and not answer.modalities <= within.modalities:
            uncovered += 1
            continue
        found[answer.study_uid] = answer
    newest = sorted(found.values(), key=lambda one: (one.day, one.time, one.study_uid), reverse=True)
    taken = newest[:most]
    there = tuple(one for one in taken if _is_held(one, held))
    return Chosen(
        fetch=tuple(one for one in taken if one not in there),
        held=there,
        uncovered=uncovered,
        left_out=len(newest) - len(taken),
    )


def _is_within(answer: Answer, within: Within) -> bool:
    """What an archive does not say of modalities the images will; a day that is not told is no day."""
    if within.modality and answer.modalities and within.modality not in answer.modalities:
        return False
    if not within.days:
        return True
    if not _DAY.fullmatch(answer.day):
        return False
    return (within.studied_from or answer.day) <= answer.day <= (within.studied_until or answer.day)


def _is_held(answer: Answer, held: Mapping[str, int]) -> bool:
    return answer.instances is not None and 0 < answer.instances <= held.get(answer.study_uid, 0)


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the studies that were found."""

    fetched: int = 0
    """Whole, or held already."""
    failed: int = 0
    waiting: int = 0
    instances: int = 0
    failed_instances: int = 0

    @property
    def studies(self) -> int:
        """All of them."""
        return self.fetched + self.failed + self.waiting


def outcome(tally: Tally, refused: int) -> str:
    """How a retrieval has ended; `refused` counts the archives that did not answer what they were asked."""
    if not tally.studies:
        return "failed" if refused else "nothing found"
    if not tally.fetched:
        return "failed"
    return "partial" if tally.failed or tally.waiting or refused else "complete"


def words_of(tally: Tally, said: Sequence[str]) -> str:
    """What there is to know of it, in words that name nobody."""
    parts = []
    if tally.studies:
        studies = "1 study" if tally.studies == 1 else f"{tally.studies} studies"
        parts.append(f"{studies} found, {tally.fetched} here, {tally.instances} images sent")
    if tally.failed_instances:
        parts.append(f"{tally.failed_instances} images could not be sent")
    return "; ".join([*parts, *said])
