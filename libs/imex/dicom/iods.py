"""Attributes that an information object has to have, by SOP class (PS3.3, modules that are mandatory)."""

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

MOST_NAMED: Final = 24
_ROWS: Final = 0x00280010


@dataclass(frozen=True, slots=True)
class Needed:
    """Tags of Type 1, which have to have a value, and of Type 2, which have to be there."""

    filled: frozenset[int]
    there: frozenset[int]


@dataclass(frozen=True, slots=True)
class Conformance:
    """What of a data set's top level is not as the standard has it: keywords, in the order of their tags."""

    missing: tuple[str, ...] = ()
    """Of Type 1, absent or empty."""
    absent: tuple[str, ...] = ()
    """Of Type 2, absent."""
    malformed: tuple[str, ...] = ()
    """Values that have not the form of their value representation."""
    odd: tuple[str, ...] = ()
    """Values of an odd length."""


def conformance(
    sop_class_uid: str, lengths: dict[int, int], malformed: list[int], odd: list[int]
) -> Conformance:
    """Compare the elements of a top level, tag to length in bytes, with what the SOP class asks for."""
    needed = _needed().get(sop_class_uid)
    there = lengths.keys()
    missing: list[int] = []
    absent: list[int] = []
    if needed is not None:
        missing = sorted(tag for tag in needed.filled if not lengths.get(tag))
        if not needed.there <= there:
            absent = sorted(needed.there - there)
    if not (missing or absent or odd or malformed):
        return _SOUND
    return Conformance(_named(missing), _named(absent), _named(sorted(malformed)), _named(sorted(odd)))


_SOUND: Final = Conformance()


def _named(tags: list[int]) -> tuple[str, ...]:
    if not tags:
        return ()
    return tuple(_name(tag) for tag in tags[:MOST_NAMED])


@lru_cache(maxsize=1024)
def _name(tag: int) -> str:
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def needs_pixels(sop_class_uid: str) -> bool:
    """Whether instances of the SOP class are images; False for a class that is not known.

    Pixel Data itself is conditional in PS3.3, as it may be fetched by JPIP; Rows is not.
    """
    needed = _needed().get(sop_class_uid)
    return needed is not None and _ROWS in needed.filled


@cache
def needed_anywhere() -> frozenset[int]:
    """The tags that some SOP class needs."""
    return frozenset[int]().union(*(needed.filled | needed.there for needed in _needed().values()))


@cache
def _needed() -> dict[str, Needed]:
    table = json.loads(files("imex.dicom").joinpath("iods.json").read_text(encoding="utf-8"))
    by_iod = {
        iod: Needed(*(frozenset(int(tag, 16) for tag in types[type_]) for type_ in ("1", "2")))
        for iod, types in table["iods"].items()
    }
    return {uid: by_iod[iod] for uid, iod in table["sop_classes"].items()}
