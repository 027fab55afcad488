"""De-identifying one data set, at every level of nesting: PS3.15 Annex E, by its own table."""

from dataclasses import dataclass
from typing import Any, Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from imex.deidentification import replacements
from imex.deidentification.dates import shifted_date, shifted_datetime
from imex.deidentification.keys import ProjectKey, patient_key
from imex.deidentification.known import Known
from imex.deidentification.profile import (
    FULL_DATES,
    GRAPHICS,
    METHOD,
    MODIFIED_DATES,
    SAFE_PRIVATE,
    Action,
    Profile,
)
from imex.deidentification.reading import is_sequence, items, known_in, text_of, texts, vr_of

_PATIENT_NAME: Final = 0x00100010
_PATIENT_ID: Final = 0x00100020
_CONTENT_SEQUENCE: Final = 0x0040A730
_TEXT_VALUE: Final = 0x0040A160
_UNFORMATTED_TEXT: Final = 0x00700006
_PERFORMED_STEPS: Final = 0x00081111
_CLASS_UID, _INSTANCE_UID = 0x00081150, 0x00081155
_TEXT: Final = frozenset({"LO", "LT", "ST", "UC", "UT"})
_TEMPORAL: Final = frozenset({"DA", "DT", "TM"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a data set beside its new form."""

    patient: str
    """What the patient is told apart by (`patient_key`). Patient data."""
    pseudonym: str
    uids: dict[str, str]
    """Original to given UIDs, of all levels."""
    known: Known
    """What must not be found in it any more. Patient data."""


def deidentify(dataset: Dataset, profile: Profile, key: ProjectKey, source: str) -> Outcome:
    """Change `dataset` in place. `source` is the institution that it came from."""
    patient = patient_key(
        source, text_of(dataset, 0x0020000D), text_of(dataset, _PATIENT_ID), text_of(dataset, 0x00100021)
    )
    known = known_in(dataset)
    worker = _Worker(profile, key, key.days(patient), key.pseudonym(patient), known)
    worker.work(dataset)
    _say_so(dataset, profile, worker.pseudonym)
    return Outcome(patient, worker.pseudonym, worker.uids, known)


def _say_so(dataset: Dataset, profile: Profile, pseudonym: str) -> None:
    dataset.add_new(_PATIENT_NAME, "PN", pseudonym)
    dataset.add_new(_PATIENT_ID, "LO", pseudonym)
    dataset.add_new(0x00120062, "CS", "YES")
    codes = profile.codes
    dataset.add_new(0x00120063, "LO", [METHOD, *(meaning[:64] for _, meaning in codes[1:])])
    dataset.add_new(
        0x00120064, "SQ", Sequence([replacements.code(value, "DCM", meaning) for value, meaning in codes])
    )
    dataset.add_new(0x00280303, "CS", profile.temporal)


def _standard_vr(tag: int) -> str:
    """The VR of an attribute in PS3.6; empty where that does not know it."""
    return dictionary_VR(tag).split(" or ")[0] if dictionary_has_tag(tag) else ""


class _Worker:
    def __init__(self, profile: Profile, key: ProjectKey, days: int, pseudonym: str, known: Known) -> None:
        self._profile = profile
        self._key = key
        self._days = days
        self._known = known
        self._cleaning = 0
        self.pseudonym = pseudonym
        self.uids: dict[str, str] = {}

    def work(self, dataset: Dataset) -> None:
        """All elements of one level, and of those below."""
        safe = self._safe_private(dataset)
        drawn: set[int] = set()
        for tag in sorted(dataset.keys()):
            group = tag >> 16
            if group & 1:
                if tag not in safe:
                    del dataset[tag]
            elif group >> 8 in (0x50, 0x60):
                drawn.add(group)
            else:
                self._element(dataset, tag)
        # without what is drawn, curves and overlay planes describe nothing
        for tag in sorted(dataset.keys()):
            if tag >> 16 in drawn:
                del dataset[tag]

    def _safe_private(self, dataset: Dataset) -> set[int]:
        """Private elements of table E.3.10-1, with the creators of their blocks (PS3.5 section 7.8)."""
        if SAFE_PRIVATE not in self._profile.options:
            return set()
        safe: set[int] = set()
        for tag in list(dataset.keys()):
            group, element = tag >> 16, tag & 0xFFFF
            creator_tag = group << 16 | element >> 8
            if not group & 1 or element < 0x1000 or creator_tag not in dataset:
                continue
            creator = text_of(dataset, creator_tag)
            sequence = vr_of(dataset, tag) == "SQ"
            if (group, creator, element & 0xFF) in self._profile.table.safe_private and not sequence:
                safe |= {int(tag), creator_tag}
        return safe

    def _element(self, dataset: Dataset, tag: int) -> None:
        vr = vr_of(dataset, tag)
        if "SQ" in (vr, _standard_vr(tag)) and not is_sequence(dataset, tag):
            del dataset[tag]  # nobody knows what is in it
            return
        action = self._profile.action(tag, vr) or self._untabled(tag, vr)
        if tag in (_TEXT_VALUE, _UNFORMATTED_TEXT) and (
            action is Action.KEEP or GRAPHICS in self._profile.options
        ):
            action = Action.CLEAN  # free text, wherever it is let stand
        elif self._cleaning and action is Action.KEEP and vr in _TEXT:
            action = Action.CLEAN  # all text within what is to be cleaned
        match action:
            case Action.KEEP:
                if vr == "SQ":
                    self._walk(dataset, tag)
            case Action.WALK:
                self._references(dataset, tag)
            case Action.REMOVE:
                del dataset[tag]
            case Action.EMPTY:
                self._replace(dataset, tag, vr, Sequence() if vr == "SQ" else None)
            case Action.DUMMY:
                self._dummy(dataset, tag, vr)
            case Action.UID:
                self._uid(dataset, tag, vr)
            case Action.SHIFT:
                self._shift(dataset, tag, vr)
            case Action.CLEAN:
                self._clean(dataset, tag, vr)

    def _untabled(self, tag: int, vr: str) -> Action:
        """What table E.1-1 does not name stays; what not even PS3.6 names may be anything, and goes."""
        if not dictionary_has_tag(tag):
            return Action.REMOVE
        if vr == "PN":
            return Action.REMOVE
        if vr in _TEMPORAL:
            if FULL_DATES in self._profile.options:
                return Action.KEEP
            return Action.SHIFT if MODIFIED_DATES in self._profile.options else Action.REMOVE
        return Action.KEEP

    def _walk(self, dataset: Dataset, tag: int) -> None:
        for item in items(dataset, tag):
            self.work(item)

    def _references(self, dataset: Dataset, tag: int) -> None:
        if tag == _PERFORMED_STEPS:
            for item in items(dataset, tag):
                for other in sorted(item.keys() - {_CLASS_UID, _INSTANCE_UID}):
                    del item[other]
        self._walk(dataset, tag)

    def _dummy(self, dataset: Dataset, tag: int, vr: str) -> None:
        if tag == _PATIENT_ID:
            self._replace(dataset, tag, "LO", self.pseudonym)
        elif vr == "UI":
            self._uid(dataset, tag, vr)
        elif vr != "SQ":
            self._replace(dataset, tag, vr, replacements.dummy(vr))
        elif (made := replacements.SEQUENCES.get(tag)) is not None:
            self._replace(dataset, tag, "SQ", Sequence(made(items(dataset, tag))))
            self._walk(dataset, tag)
        else:
            del dataset[tag]

    def _uid(self, dataset: Dataset, tag: int, vr: str) -> None:
        if vr != "UI":
            self._replace(dataset, tag, "UI", self._given("2.25.0"))
            return
        given = [self._given(uid) for uid in texts(dataset[tag].value)]
        self._replace(dataset, tag, "UI", given[0] if len(given) == 1 else given or None)

    def _given(self, original: str) -> str:
        uid = original.strip(" \0")
        given = self._key.uid(uid)
        if given != uid:
            self.uids[uid] = given
        return given

    def _shift(self, dataset: Dataset, tag: int, vr: str) -> None:
        if vr == "TM":
            return  # times of day stay, so that intervals do
        moved: list[str] = []
        for value in texts(dataset[tag].value):
            one = (shifted_date if vr == "DA" else shifted_datetime)(value, self._days)
            if one is None:
                if value.strip():
                    self._replace(dataset, tag, vr, replacements.dummy(vr))
                    return
                one = ""
            moved.append(one)
        self._replace(dataset, tag, vr, moved[0] if len(moved) == 1 else moved or None)

    def _clean(self, dataset: Dataset, tag: int, vr: str) -> None:
        if vr == "SQ":
            self._cleaning += 1
            self._walk(dataset, tag)
            self._cleaning -= 1
            return
        cleaned = [self._known.cleaned(value) for value in texts(dataset[tag].value)]
        if not any(cleaned):
            self._replace(dataset, tag, vr, replacements.dummy(vr))
        else:
            self._replace(dataset, tag, vr, cleaned[0] if len(cleaned) == 1 else cleaned)

    @staticmethod
    def _replace(dataset: Dataset, tag: int, vr: str, value: Any) -> None:
        if vr == "SQ" and _standard_vr(tag) not in ("SQ", ""):  # not what the standard says it is
            del dataset[tag]
            return
        dataset[tag] = DataElement(tag, vr, value)
