"""Every row of table E.1-1, at the top and nested, without options and with each of them."""

from typing import Any

import pytest
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from imex.deidentification.deidentify import deidentify
from imex.deidentification.keys import ProjectKey
from imex.deidentification.profile import CODES, MODIFIED_DATES, Profile
from imex.deidentification.table import Row, table

KEY = ProjectKey(bytes(range(32)), "trial")
ORIGINAL_UID = "1.2.276.0.7230010.3.1.4.99"
VALUES: dict[str, Any] = {
    "AE": "RQM_SCANNER",
    "AS": "042Y",
    "AT": 0x00100010,
    "CS": "ORIGINAL",
    "DA": "20240517",
    "DT": "20240517123456.5",
    "TM": "123456",
    "DS": "17.5",
    "IS": "17",
    "UI": ORIGINAL_UID,
    "UR": "http://hospital.example/zzyzx",
    "OB": b"ORIGINAL",
    "OW": b"ORIGINAL",
    "OD": b"ORIGINAL",
    "OF": b"ORIGINAL",
    "UN": b"ORIGINAL",
    "FD": 17.0,
    "FL": 17.0,
    "SL": 17,
    "SS": 17,
    "UL": 17,
    "US": 17,
}
ROWS = [row for row in table().rows if "x" not in row.tag and dictionary_has_tag(int(row.tag, 16))]
OPTIONS = [option for option in CODES if option]
INSIDE = 0x00409096  # Real World Value Mapping Sequence, which no row names


def original(vr: str) -> Any:
    if vr != "SQ":
        return VALUES.get(vr, "Zzyzx")
    item = Dataset()
    item.add_new(0x00080104, "LO", "Zzyzx")
    item.add_new(0x00081155, "UI", ORIGINAL_UID)
    item.add_new(0x00100010, "PN", "Zzyzx^Quux")
    return Sequence([item])


def around(tag: int, vr: str, *, nested: bool) -> tuple[Dataset, Dataset]:
    """A data set, and the one in it that holds the attribute."""
    dataset = Dataset()
    dataset.add_new(0x00100010, "PN", "Zzyzx^Quux")
    dataset.add_new(0x00100020, "LO", "MRN0815")
    dataset.add_new(0x0020000D, "UI", "1.2.3")
    holder = dataset
    if nested:
        deeper = Dataset()
        middle = Dataset()
        middle.add_new(INSIDE, "SQ", Sequence([deeper]))
        dataset.add_new(INSIDE, "SQ", Sequence([middle]))
        holder = deeper
    holder.add_new(tag, vr, original(vr))
    return dataset, holder


def emptied(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, Sequence | list) and len(value) == 0)


def shows(value: Any, vr: str) -> bool:
    """Whether the original can still be read."""
    if vr == "SQ":
        return any(word in str(value) for word in ("Zzyzx", ORIGINAL_UID))
    return bool(value == original(vr))


def fits(code: str, holder: Dataset, tag: int, vr: str) -> bool:
    """Whether an attribute is as one code of table E.1-1 asks (PS3.15 table E.1-1a)."""
    if tag not in holder:
        return "X" in code
    value = holder[tag].value
    if emptied(value):
        return "Z" in code
    if "U" in code and vr == "SQ":
        return ORIGINAL_UID not in str(value) and "Quux" not in str(value)
    if "U" in code:
        return str(value).startswith("2.25.")
    return ("D" in code or "Z" in code) and not shows(value, vr)


@pytest.mark.parametrize("nested", [False, True], ids=["top", "nested"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.tag} {row.name}")
def test_the_basic_profile_does_what_the_table_says(row: Row, nested: bool) -> None:
    tag = int(row.tag, 16)
    vr = dictionary_VR(tag).split(" or ")[0]
    dataset, holder = around(tag, vr, nested=nested)
    deidentify(dataset, Profile(), KEY, "RQM")
    assert fits(row.code, holder, tag, vr), holder.get(tag)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_keeps_and_cleans_just_what_its_column_says(option: str) -> None:
    wrong = []
    for row in ROWS:
        tag = int(row.tag, 16)
        vr = dictionary_VR(tag).split(" or ")[0]
        dataset, holder = around(tag, vr, nested=True)
        outcome = deidentify(dataset, Profile(frozenset({option})), KEY, "RQM")
        code = row.options.get(option)
        if code == "K":
            right = tag in holder and (vr == "SQ" or holder[tag].value == original(vr))
        elif code == "C" and option == MODIFIED_DATES and vr in ("DA", "DT"):
            value = str(holder[tag].value) if tag in holder else ""
            right = value != original(vr) and value[8:] == original(vr)[8:]
        elif code == "C" and vr in ("TM", "SH") and option == MODIFIED_DATES:
            right = tag in holder  # times and their zone stay
        elif code == "C":  # cleaned: gone, or without what is known of the patient
            right = tag not in holder or not shows(holder[tag].value, vr) or vr == "AT"
        else:
            right = fits(row.code, holder, tag, vr)
        if not right and not (tag == 0x00700006 and option == "clean-graphics"):
            wrong.append((row, holder.get(tag)))
        assert "MRN0815" not in str(dataset) and outcome.pseudonym in str(dataset)
    assert not wrong


def test_repeating_groups_are_known() -> None:
    for tag in (0x50000010, 0x50023000, 0x60003000, 0x60024000):
        dataset, _ = around(0x00100010, "PN", nested=False)
        dataset.add_new(
            tag, "OW" if tag & 0xFFFF == 0x3000 else "LT", b"\1\0" if tag & 0xFFFF == 0x3000 else "x"
        )
        deidentify(dataset, Profile(), KEY, "RQM")
        assert tag not in dataset


def test_the_table_says_where_it_comes_from() -> None:
    assert table().edition == "2024e"
    assert len(table().rows) > 650
