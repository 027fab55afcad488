"""Going through data sets of pydicom without decoding what is not looked at."""

import re
from collections.abc import Iterator
from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from imex.deidentification.known import Known

PATIENT_NAMES = frozenset({0x00100010, 0x00101001, 0x00101005, 0x00101060})
"""Name, other names, birth name, mother's birth name."""
PATIENT_IDENTIFIERS = frozenset(
    {0x00100020, 0x00101000, 0x00101040, 0x00101090, 0x00102154, 0x00080050, 0x00380010}
)
"""Patient ID, other IDs, address, record locator, telephone, accession number, admission."""
BIRTH_DATE = 0x00100030
_PRINTED = re.compile(rb"[\x20-\x7e]{5,}")
_MOST_BYTES = 1 << 20


def vr_of(dataset: Dataset, tag: int) -> str:
    """The VR of an element: as encoded, by the dictionary where that says nothing."""
    element = dataset.get_item(tag)
    vr = str(element.VR) if element is not None and element.VR else "UN"
    if vr == "UN" and dictionary_has_tag(tag):
        return dictionary_VR(tag).split(" or ")[0]
    return vr


def texts(value: Any) -> list[str]:
    """The values of an element as text; of bytes, what can be read in them."""
    if value is None:
        return []
    if isinstance(value, bytes | bytearray):
        return [run.decode("ascii") for run in _PRINTED.findall(bytes(value[:_MOST_BYTES]))]
    if isinstance(value, list | tuple | MultiValue):
        return [str(one) for one in value]
    return [str(value)]


def is_sequence(dataset: Dataset, tag: int) -> bool:
    """Whether the value of an element has been read as a sequence."""
    return isinstance(dataset[tag].value, Sequence)


def items(dataset: Dataset, tag: int) -> Sequence:
    """The items of a sequence; none where it is something else."""
    value = dataset[tag].value
    return value if isinstance(value, Sequence) else Sequence()


def walk(dataset: Dataset) -> Iterator[tuple[Dataset, int, str]]:
    """Each element at every level, with the data set that holds it and its VR."""
    for tag in sorted(dataset.keys()):
        vr = vr_of(dataset, tag)
        if vr == "SQ" and not is_sequence(dataset, tag):
            vr = "UN"  # it should be one, and cannot be read as one
        yield dataset, tag, vr
        if vr == "SQ":
            for item in items(dataset, tag):
                yield from walk(item)


def uids_of(dataset: Dataset) -> set[str]:
    """All UIDs at every level, those of the standard too."""
    return {uid for holder, tag, vr in walk(dataset) if vr == "UI" for uid in texts(holder[tag].value) if uid}


def known_in(dataset: Dataset) -> Known:
    """What a data set says of who it is about, at every level."""
    known = Known()
    for holder, tag, vr in walk(dataset):
        if tag in PATIENT_NAMES:
            for name in texts(holder[tag].value):
                known.add_name(name)
        elif tag in PATIENT_IDENTIFIERS:
            for identifier in texts(holder[tag].value):
                known.add_identifier(identifier)
        elif tag == BIRTH_DATE:
            for birth in texts(holder[tag].value):
                known.add_birth_date(birth)
        elif vr == "PN":
            for person in texts(holder[tag].value):
                known.add_person(person)
    return known


def text_of(dataset: Dataset, tag: int) -> str:
    """The first value of an element as text; empty where there is none."""
    if tag not in dataset:
        return ""
    values = texts(dataset[tag].value)
    return values[0].strip() if values else ""
