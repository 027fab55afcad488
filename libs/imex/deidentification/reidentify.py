"""The way back: what a project's recipient returns gets its original UIDs and patient at every level."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from imex.deidentification.reading import text_of, texts, walk

PATIENT: Final = {
    0x00100010: "PN",
    0x00100020: "LO",
    0x00100021: "LO",
    0x00100030: "DA",
    0x00100032: "TM",
    0x00100040: "CS",
    0x00101010: "AS",
    0x00101020: "DS",
    0x00101030: "DS",
}
"""What is kept of a patient for the way back, with its VR."""

STUDY: Final = {
    0x00080020: "DA",
    0x00080030: "TM",
    0x00080050: "SH",
    0x00080090: "PN",
    0x00081030: "LO",
    0x00200010: "SH",
}
"""What is kept of a study for the way back, with its VR."""

_CHARACTER_SET: Final = 0x00080005
_MARKS: Final = (0x00120062, 0x00120063, 0x00120064, 0x00280303)
"""What says that it is de-identified."""
_TEXT: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})


@dataclass(frozen=True, slots=True)
class Origin:
    """Who and what a pseudonymous study was: text by tag (eight hex digits). Patient data."""

    patient: Mapping[str, str]
    study: Mapping[str, str]


def facts_of(dataset: Dataset) -> Origin:
    """What is kept of a data set before it is de-identified."""

    def kept(wanted: Mapping[int, str]) -> dict[str, str]:
        return {f"{tag:08X}": found for tag in wanted if (found := text_of(dataset, tag))}

    return Origin(kept(PATIENT), kept(STUDY))


def reidentify(dataset: Dataset, originals: Mapping[str, str], pseudonym: str, origin: Origin) -> None:
    """Change `dataset` in place: `originals` are the original UIDs by the given ones."""
    if not all(value.isascii() for value in (*origin.patient.values(), *origin.study.values())):
        _write_as_unicode(dataset)
    patient = origin.patient.get("00100020", "")
    name = origin.patient.get("00100010", "")
    for holder, tag, vr in list(walk(dataset)):
        if tag not in holder:
            continue
        if vr == "UI":
            _put(holder, tag, vr, [originals.get(uid, uid) for uid in texts(holder[tag].value)])
        elif vr in _TEXT:
            values = texts(holder[tag].value)
            if any(pseudonym in value for value in values):
                told = name if vr == "PN" else patient
                _put(holder, tag, vr, [value.replace(pseudonym, told) for value in values])
    for wanted, told_of in ((PATIENT, origin.patient), (STUDY, origin.study)):
        for tag, vr in wanted.items():
            value = told_of.get(f"{tag:08X}", "")
            if value:
                _put(dataset, tag, vr, [value])
            elif tag in dataset:
                _put(dataset, tag, vr, [])
    for tag in _MARKS:
        if tag in dataset:
            del dataset[tag]


def _write_as_unicode(dataset: Dataset) -> None:
    """The maker's character set may not have what is put back; all text is decoded before it is changed."""
    holders = {id(dataset): dataset}
    for holder, tag, _ in list(walk(dataset)):
        _ = holder[tag].value
        if tag == _CHARACTER_SET:
            holders[id(holder)] = holder
    for holder in holders.values():
        holder.add_new(_CHARACTER_SET, "CS", "ISO_IR 192")


def _put(holder: Dataset, tag: int, vr: str, values: list[Any]) -> None:
    value = values[0] if len(values) == 1 else values or None
    holder[tag] = DataElement(tag, vr, value)
