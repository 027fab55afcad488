"""Values that stand where others may not: of the right VR, and saying nothing (code D of table E.1-1)."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

WORD: Final = "REMOVED"

_DUMMIES: Final[dict[str, Any]] = {
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "DS": "0",
    "IS": "0",
    "UR": "http://removed.invalid",
    "AT": 0x00000000,
    "OB": b"\0\0",
    "OD": b"\0" * 8,
    "OF": b"\0" * 4,
    "OL": b"\0" * 4,
    "OV": b"\0" * 8,
    "OW": b"\0\0",
    "UN": b"\0\0",
}
_NUMBERS: Final = frozenset({"FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})


def dummy(vr: str) -> Any:
    """A value of a VR that is no sequence."""
    if vr in _NUMBERS:
        return 0
    return _DUMMIES.get(vr, WORD)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence (PS3.3 section 8)."""
    item = Dataset()
    item.add_new(0x00080100, "SH", value)
    item.add_new(0x00080102, "SH", scheme)
    item.add_new(0x00080104, "LO", meaning)
    return item


def _person_codes(_: Iterable[Dataset]) -> list[Dataset]:
    return [code("0", "99IMEX", WORD)]


def _content(_: Iterable[Dataset]) -> list[Dataset]:
    """A document without what it says."""
    item = Dataset()
    item.add_new(0x0040A010, "CS", "CONTAINS")
    item.add_new(0x0040A040, "CS", "TEXT")
    item.add_new(0x0040A043, "SQ", Sequence([code("121106", "DCM", "Comment")]))
    item.add_new(0x0040A160, "UT", WORD)
    return [item]


_GRAPHIC_LAYER: Final = 0x00700002
_REFERENCED_IMAGES: Final = 0x00081140


def _graphics(found: Iterable[Dataset]) -> list[Dataset]:
    """The layers and the images that they belong to, with nothing drawn or written."""
    kept: list[Dataset] = []
    for one in found:
        item = Dataset()
        for tag in (_REFERENCED_IMAGES, _GRAPHIC_LAYER):
            if tag in one:
                item[tag] = one[tag]
        words = Dataset()
        words.add_new(0x00700004, "CS", "PIXEL")
        words.add_new(0x00700006, "ST", WORD)
        words.add_new(0x00700014, "FL", [1.0, 1.0])
        words.add_new(0x00700015, "CS", "N")
        item.add_new(0x00700008, "SQ", Sequence([words]))
        kept.append(item)
    return kept


def _only(*tags: int) -> Callable[[Iterable[Dataset]], list[Dataset]]:
    """Items of nothing but elements that the table names, and that are worked through after this."""

    def kept(found: Iterable[Dataset]) -> list[Dataset]:
        made = []
        for one in found:
            item = Dataset()
            for tag in tags:
                if tag in one:
                    item[tag] = one[tag]
            made.append(item)
        return made

    return kept


SEQUENCES: Final[dict[int, Callable[[Iterable[Dataset]], list[Dataset]]]] = {
    0x00401101: _person_codes,
    0x0040A730: _content,
    0x00700001: _graphics,
    0x00340001: _only(0x00340002),  # the flow's identifier
    0x0040A073: _only(0x0040A027, 0x0040A030, 0x0040A075, 0x0040A088),  # who verified, for whom, when
}
"""What becomes of the items of sequences with code D."""
