"""The query of a search (PS3.18 section 8.3.4): what is matched, what is returned, how much."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import ColumnElement, Text, and_, cast, func, or_
from sqlalchemy.dialects.postgresql import ARRAY

from imex.db.tables.routing import studies
from imex.portal.problems import Problem

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_DATE = re.compile(r"([0-9]{8})?(-)?([0-9]{8})?")
_STORABLE = re.compile(r"[^\0\ud800-\udfff]*")
"""What the database takes: neither NUL nor half of a surrogate pair."""
_MOST_VALUES: Final = 200
_MOST_CHARS: Final = 256
_UIDS: Final = frozenset({"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"})
OTHER_PARAMETERS: Final = frozenset({"limit", "offset", "includefield", "fuzzymatching"})


@dataclass
class Wanted:
    """A search in our own words; conditions are on studies."""

    limit: int
    offset: int = 0
    conditions: list[ColumnElement[bool]] = field(default_factory=list)
    study_uids: tuple[str, ...] = ()
    series_uid: str | None = None
    modality: str | None = None
    sop_instance_uid: str | None = None
    sop_class_uids: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    """One of which an image of the study has to have that the caller may see."""
    fields: frozenset[str] = frozenset()
    """Tags of eight hexadecimal digits that are returned besides the usual."""
    every_field: bool = False
    warnings: list[str] = field(default_factory=list)


def tag_of(name: str) -> str:
    """Eight hexadecimal digits, from a keyword or a tag; empty where it is neither."""
    if re.fullmatch(r"[0-9A-Fa-f]{8}", name):
        return name.upper()
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(name)
    return f"{tag:08X}" if tag is not None else ""


def _keyword(name: str) -> str:
    from pydicom.datadict import keyword_for_tag

    tag = tag_of(name)
    return keyword_for_tag(tag) if tag else ""


def _text(column: ColumnElement[str], value: str, *, fold: bool = False) -> ColumnElement[bool]:
    """Single value and wild card matching (PS3.4 C.2.2.2.1, C.2.2.2.4)."""
    if "*" not in value and "?" not in value and not fold:
        return column == value
    pattern = "".join({"*": "%", "?": "_", "%": r"\%", "_": r"\_", "\\": r"\\"}.get(c, c) for c in value)
    return column.ilike(pattern, escape="\\") if fold else column.like(pattern, escape="\\")


def _name(column: ColumnElement[str], value: str) -> ColumnElement[bool]:
    """A person's name without regard to case; the ideographic and phonetic groups need not be named."""
    if "=" in value:
        return _text(column, value, fold=True)
    return or_(_text(column, value, fold=True), _text(column, f"{value}=*", fold=True))


def _identifier(column: ColumnElement[str], value: str) -> ColumnElement[bool]:
    """However it is written: with spaces or hyphens, or without."""
    if "*" in value or "?" in value:
        return _text(column, value)
    return func.regexp_replace(column, "[ -]", "", "g") == re.sub("[ -]", "", value)


def _date(column: ColumnElement[str], value: str) -> ColumnElement[bool]:
    """A date or a range of dates (PS3.4 C.2.2.2.5)."""
    found = _DATE.fullmatch(value)
    if found is None or not (found[1] or found[3]) or (found[3] and not found[2]):
        raise Problem(400, "A date is YYYYMMDD, a range YYYYMMDD-YYYYMMDD; an end that is open is left out.")
    if not found[2]:
        return column == found[1]
    within = [column != ""]
    within += [column >= found[1]] if found[1] else []
    within += [column <= found[3]] if found[3] else []
    return and_(*within)


def _modalities(value: str) -> tuple[str, ...]:
    return tuple(one.strip().upper() for one in re.split(r"[,\\]", value))


_s = studies.c
_STUDY_KEYS: Final[dict[str, Callable[[str], ColumnElement[bool]]]] = {
    "StudyDate": lambda value: _date(_s.study_date, value),
    "AccessionNumber": lambda value: _text(_s.accession, value),
    "ModalitiesInStudy": lambda value: _s.modalities.op("&&")(cast(_modalities(value), ARRAY(Text))),
    "PatientName": lambda value: _name(_s.patient_name, value),
    "PatientID": lambda value: _identifier(_s.patient_id, value),
    "IssuerOfPatientID": lambda value: _text(_s.issuer, value),
    "PatientBirthDate": lambda value: _date(_s.birth_date, value),
    "StudyDescription": lambda value: _text(_s.study_description, value, fold=True),
}
_LEVELS: Final = {
    "studies": ("StudyInstanceUID", *_STUDY_KEYS),
    "series": ("StudyInstanceUID", *_STUDY_KEYS, "SeriesInstanceUID", "Modality"),
    "instances": (
        "StudyInstanceUID",
        *_STUDY_KEYS,
        "SeriesInstanceUID",
        "Modality",
        "SOPInstanceUID",
        "SOPClassUID",
    ),
}


def keys_of(level: str) -> tuple[str, ...]:
    """Keywords that can be matched in a search for `studies`, `series` or `instances`."""
    return _LEVELS[level]


def read(parameters: Sequence[tuple[str, str]], level: str, most: int) -> Wanted:
    """The search that the parameters ask for; what cannot be matched is refused: it would widen it.

    Raises:
        Problem: 400, in words.
    """
    wanted = Wanted(most)
    fields: set[str] = set()
    seen: set[str] = set()
    for name, value in parameters:
        if name == "includefield":
            fields |= _fields(value, wanted)
            continue
        if name in OTHER_PARAMETERS:
            _other(name, value, wanted, most)
            continue
        keyword = _keyword(name)
        if keyword not in _LEVELS[level]:
            known = ", ".join(_LEVELS[level])
            raise Problem(400, f"{name[:64]!r} cannot be matched here. Known are: {known}.")
        if keyword in seen:
            raise Problem(400, f"{keyword} may be given once only.")
        seen.add(keyword)
        if value.strip(" *"):
            if not _STORABLE.fullmatch(value):
                raise Problem(400, f"{keyword} has a character that no text has.")
            longest = _MOST_VALUES * 65 if keyword in _UIDS else _MOST_CHARS
            if len(value.strip()) > longest:
                raise Problem(400, f"{keyword} is longer than {longest} characters.")
            _match(keyword, value.strip(), wanted)
    wanted.fields = frozenset(fields)
    return wanted


def _match(keyword: str, value: str, wanted: Wanted) -> None:
    if keyword == "ModalitiesInStudy":
        wanted.modalities = _modalities(value)
    if keyword in _STUDY_KEYS:
        wanted.conditions.append(_STUDY_KEYS[keyword](value))
        return
    if keyword == "Modality":
        wanted.modality = value
        return
    uids = tuple(one.strip() for one in re.split(r"[,\\]", value))
    if len(uids) > _MOST_VALUES or not all(_UID.fullmatch(uid) for uid in uids):
        raise Problem(400, f"{keyword} is a UID, or up to {_MOST_VALUES} with commas between.")
    match keyword:
        case "StudyInstanceUID":
            wanted.study_uids = uids
            wanted.conditions.append(_s.study_uid.in_(uids))
        case "SOPClassUID":
            wanted.sop_class_uids = uids
        case _ if len(uids) > 1:
            raise Problem(400, f"{keyword} may have one value only.")
        case "SeriesInstanceUID":
            wanted.series_uid = uids[0]
        case _:
            wanted.sop_instance_uid = uids[0]


def _fields(value: str, wanted: Wanted) -> set[str]:
    found = set()
    for name in value.split(","):
        if name.strip().lower() == "all":
            wanted.every_field = True
            continue
        tag = tag_of(name.strip())
        if not tag:
            raise Problem(400, f"includefield names no attribute: {name.strip()[:64]!r}.")
        found.add(tag)
    return found


def _other(name: str, value: str, wanted: Wanted, most: int) -> None:
    if name == "fuzzymatching":
        if value.lower() == "true":
            wanted.warnings.append(
                "The fuzzymatching parameter is not supported. Only literal matching has been performed."
            )
        return
    if not value.isdecimal() or len(value) > 9:
        raise Problem(400, f"{name} is a whole number.")
    if name == "limit":
        wanted.limit = min(max(int(value), 1), most)
    else:
        wanted.offset = int(value)
