"""Identifiers under which a recipient wants what it gets, changed in a data set.

What is replaced stays in it: a Patient ID among the Other Patient IDs, and all of it in the Original
Attributes Sequence (PS3.3 section C.12.1.1.9.1).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

PATIENT_ID: Final = 0x00100020
ISSUER: Final = 0x00100021
QUALIFIERS: Final = 0x00100024
OTHER_IDS: Final = 0x00101002
ACCESSION: Final = 0x00080050
ACCESSION_ISSUER: Final = 0x00080051
_ORIGINAL: Final = 0x04000561
_SYSTEM: Final = "IMEX"


@dataclass(frozen=True, slots=True)
class Identifier:
    """An identifier and who assigned it (an ODS code, or the word of whoever sent it)."""

    value: str
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """What is compared before an identifier is replaced by another's. Patient data."""

    name: str = ""
    birth_date: str = ""


def patient_id_of(dataset: Dataset) -> Identifier:
    """The Patient ID with its issuer."""
    return Identifier(_text(dataset, PATIENT_ID), _text(dataset, ISSUER))


def accession_of(dataset: Dataset) -> Identifier:
    """The Accession Number with its issuer."""
    issuer = ""
    for item in _items(dataset, ACCESSION_ISSUER)[:1]:
        issuer = _text(item, 0x00400031) or _text(item, 0x00400032)
    return Identifier(_text(dataset, ACCESSION), issuer)


def person_of(dataset: Dataset) -> Person:
    """Name and birth date."""
    return Person(_text(dataset, 0x00100010), _text(dataset, 0x00100030))


def name_patient_issuer(dataset: Dataset, institution: str) -> bool:
    """Say which institution assigned the Patient ID, where nobody does; whether anything was changed."""
    if not _text(dataset, PATIENT_ID) or _text(dataset, ISSUER):
        return False
    dataset.add_new(ISSUER, "LO", institution)
    if not _items(dataset, QUALIFIERS):
        dataset.add_new(QUALIFIERS, "SQ", Sequence([_universal(institution)]))
    return True


def name_accession_issuer(dataset: Dataset, institution: str) -> bool:
    """Say which institution assigned the Accession Number, where nobody does; whether it was changed."""
    if not _text(dataset, ACCESSION) or _items(dataset, ACCESSION_ISSUER):
        return False
    item = _universal(institution)
    item.add_new(0x00400031, "UT", institution)
    dataset.add_new(ACCESSION_ISSUER, "SQ", Sequence([item]))
    return True


def replace_patient_id(dataset: Dataset, new: Identifier, former_issuer: str) -> None:
    """Another Patient ID; the former one goes to the Other Patient IDs, the new one leaves them."""
    former = Identifier(_text(dataset, PATIENT_ID), _text(dataset, ISSUER) or former_issuer)
    _keep_original(dataset, (PATIENT_ID, ISSUER, QUALIFIERS), former_issuer)
    others = [
        item
        for item in _items(dataset, OTHER_IDS)
        if Identifier(_text(item, PATIENT_ID), _text(item, ISSUER)) not in (former, new)
    ]
    item = Dataset()
    item.add_new(PATIENT_ID, "LO", former.value)
    item.add_new(ISSUER, "LO", former.issuer)
    item.add_new(0x00100022, "CS", "TEXT")
    dataset.add_new(OTHER_IDS, "SQ", Sequence([*others, item]))
    dataset.add_new(PATIENT_ID, "LO", new.value)
    dataset.add_new(ISSUER, "LO", new.issuer)
    dataset.add_new(QUALIFIERS, "SQ", Sequence([_universal(new.issuer)]))


def replace_accession(dataset: Dataset, new: Identifier, former_issuer: str) -> None:
    """Another Accession Number."""
    _keep_original(dataset, (ACCESSION, ACCESSION_ISSUER), former_issuer)
    item = _universal(new.issuer)
    item.add_new(0x00400031, "UT", new.issuer)
    dataset.add_new(ACCESSION, "SH", new.value)
    dataset.add_new(ACCESSION_ISSUER, "SQ", Sequence([item]))


def _keep_original(dataset: Dataset, tags: Iterable[int], source: str) -> None:
    former = Dataset()
    for tag in tags:
        if tag in dataset:
            former[tag] = dataset[tag]
    item = Dataset()
    item.add_new(0x04000550, "SQ", Sequence([former]))
    item.add_new(0x04000562, "DT", datetime.now(UTC).strftime("%Y%m%d%H%M%S+0000"))
    item.add_new(0x04000563, "LO", _SYSTEM)
    item.add_new(0x04000564, "LO", source)
    item.add_new(0x04000565, "CS", "COERCE")
    dataset.add_new(_ORIGINAL, "SQ", Sequence([*_items(dataset, _ORIGINAL), item]))


def _universal(institution: str) -> Dataset:
    item = Dataset()
    item.add_new(0x00400032, "UT", f"urn:imex:institution:{institution}")
    item.add_new(0x00400033, "CS", "URI")
    return item


def _text(dataset: Dataset, tag: int) -> str:
    value = dataset[tag].value if tag in dataset else None
    return "" if value is None else str(value).strip()


def _items(dataset: Dataset, tag: int) -> list[Dataset]:
    value = dataset[tag].value if tag in dataset else None
    return list(value) if isinstance(value, Sequence) else []
