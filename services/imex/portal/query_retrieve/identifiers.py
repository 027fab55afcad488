"""Identifiers of C-FIND, C-MOVE and C-GET (PS3.4 C.4): reading what is asked, encoding what is answered."""

from __future__ import annotations

import json
import re
from collections.abc import MutableSequence, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from imex.dicom.quiet import be_quiet
from imex.dicom.rewriting import IMPLICIT
from imex.dicomweb.elements import Json
from imex.portal.dicomweb.matching import keys_of, tag_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LEVELS: Final = {"STUDY": "studies", "SERIES": "series", "IMAGE": "instances"}
"""Query/Retrieve levels of the Study Root model, and what is searched for at each."""
UNIQUE_KEYS: Final = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
MOST_UIDS: Final = 1000
"""In one retrieval's list."""
MOST_KEYS: Final = 256
"""In one identifier: every match has them all, and each takes time to encode."""
_LATIN_1, _UTF_8 = "ISO_IR 100", "ISO_IR 192"
_MOST_FAILED: Final = 900
"""UIDs in a list of what failed: the length of an UI element in Explicit VR has two bytes."""
_UID: Final = re.compile(r"[0-9.]{1,64}")
_LEVEL, _CHARSET, _RETRIEVE_AE = "00080052", "00080005", "00080054"
_CHARSET_TAG: Final = 0x00080005


class DoesNotMatch(Exception):
    """The identifier is not one of this model (A900); in words without what it holds."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a C-FIND asks: keys that are matched, and the tags that are returned."""

    level: str
    keys: tuple[tuple[str, str], ...]
    returned: tuple[str, ...]
    ignored: bool
    """Whether a key was given that is not matched here (PS3.4 C.2.2.1.3)."""
    charset: str = ""
    """The Specific Character Set of the query."""

    @property
    def study_uids(self) -> tuple[str, ...]:
        """The studies that it names."""
        named = dict(self.keys).get("StudyInstanceUID", "")
        return tuple(uid for uid in named.split("\\") if uid)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a C-MOVE or C-GET asks for: studies, or series or images of one."""

    level: str
    study_uids: tuple[str, ...]
    series_uids: tuple[str, ...] = ()
    sop_instance_uids: tuple[str, ...] = ()


def read_query(data: bytes, transfer_syntax: str) -> Query:
    """The query of an identifier. Raises DoesNotMatch."""
    dataset = _read(data, transfer_syntax)
    level = _level(dataset)
    known = keys_of(LEVELS[level])
    keys: list[tuple[str, str]] = []
    returned: list[str] = []
    ignored = False
    for element in dataset:
        tag = f"{element.tag:08X}"
        if tag in {_LEVEL, _CHARSET} or element.tag.element == 0:
            continue
        returned.append(tag)
        value = _text(element)
        if not value.strip(" *"):
            continue
        if element.keyword in known:
            keys.append((element.keyword, value))
        else:
            ignored = ignored or tag not in {_RETRIEVE_AE}
    charset = _text(dataset[_CHARSET_TAG]) if _CHARSET_TAG in dataset else ""
    query = Query(level, tuple(keys), tuple(returned), ignored, charset)
    if level != "STUDY" and not query.study_uids:
        raise DoesNotMatch(f"Study Instance UID is required at level {level}")
    return query


def read_retrieval(data: bytes, transfer_syntax: str) -> Retrieval:
    """The retrieval of an identifier. Raises DoesNotMatch."""
    dataset = _read(data, transfer_syntax)
    level = _level(dataset)
    uids = {name: _uids(dataset, keyword) for name, keyword in UNIQUE_KEYS.items()}
    studies = uids["STUDY"]
    if not uids[level]:
        raise DoesNotMatch(f"{UNIQUE_KEYS[level]} is required at level {level}")
    if not studies or (level != "STUDY" and len(studies) > 1):
        raise DoesNotMatch(f"one Study Instance UID is required at level {level}")
    return Retrieval(
        level,
        studies,
        uids["SERIES"] if level != "STUDY" else (),
        uids["IMAGE"] if level == "IMAGE" else (),
    )


def encode_match(query: Query, found: Json, ae_title: str, transfer_syntax: str) -> bytes:
    """The identifier of one match: every key that was asked for, empty where nothing is known of it."""
    from pydicom.dataset import Dataset

    told = found | {
        _LEVEL: {"vr": "CS", "Value": [query.level]},
        _RETRIEVE_AE: {"vr": "AE", "Value": [ae_title]},
    }
    unique = {tag_of(keyword) for level, keyword in UNIQUE_KEYS.items() if level == query.level}
    wanted = {*query.returned, *unique, _LEVEL, _RETRIEVE_AE}
    be_quiet()
    charset = _charset(query.charset, {tag: told[tag] for tag in wanted & told.keys()})
    dataset = Dataset()
    for tag in sorted(wanted):
        if tag not in told or not _add(dataset, tag, told[tag], charset, transfer_syntax):
            _add_empty(dataset, int(tag, 16))
    if charset:
        dataset.SpecificCharacterSet = charset
    return _encoded(dataset, transfer_syntax)


def encode_failed(sop_instance_uids: Sequence[str], transfer_syntax: str) -> bytes:
    """The identifier of a retrieval's last response: which images failed (PS3.4 C.4.2.1.4.2)."""
    from pydicom.dataset import Dataset

    dataset = Dataset()
    dataset.FailedSOPInstanceUIDList = list(sop_instance_uids[:_MOST_FAILED])
    return _encoded(dataset, transfer_syntax)


def _charset(asked: str, told: Json) -> str:
    """The one that was asked in, where it can say what is told, as not everybody reads UTF-8; else UTF-8."""
    text = json.dumps(told, ensure_ascii=False)
    if text.isascii():
        return asked if asked in {_LATIN_1, _UTF_8} else ""
    if asked == _LATIN_1:
        with suppress(UnicodeEncodeError):
            text.encode("latin-1")
            return _LATIN_1
    return _UTF_8


def _add(dataset: Dataset, tag: str, element: Json, charset: str, transfer_syntax: str) -> bool:
    """Whether a value could be added: a sender may have put anything there that pydicom cannot write."""
    from pydicom.dataset import Dataset

    try:
        alone = Dataset.from_json({tag: element})
        alone.SpecificCharacterSet = charset
        _encoded(alone, transfer_syntax)
    except Exception:  # noqa: BLE001  see above
        return False
    del alone.SpecificCharacterSet
    dataset.update(alone)
    return True


def _add_empty(dataset: Dataset, tag: int) -> None:
    from pydicom.datadict import dictionary_VR

    try:
        vr = dictionary_VR(tag).split(" ")[0]
    except KeyError:
        return  # a private one, or one that is newer than the dictionary
    dataset.add_new(tag, vr, [] if vr == "SQ" else None)


def _encoded(dataset: Dataset, transfer_syntax: str) -> bytes:
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, transfer_syntax == IMPLICIT
    write_dataset(out, dataset)
    return bytes(out.getvalue())


def _read(data: bytes, transfer_syntax: str) -> Dataset:
    from pydicom.filereader import read_dataset

    be_quiet()
    try:
        dataset = read_dataset(BytesIO(data), transfer_syntax == IMPLICIT, True)
    except Exception:  # noqa: BLE001  pydicom raises what it likes about what was sent
        raise DoesNotMatch("the identifier cannot be read") from None
    if len(dataset) > MOST_KEYS:
        raise DoesNotMatch(f"the identifier has more than {MOST_KEYS} keys")
    try:
        dataset.decode()
        for _ in dataset:
            pass  # values are read here, and not later
    except Exception:  # noqa: BLE001  as above
        raise DoesNotMatch("the identifier cannot be read") from None
    return dataset


def _level(dataset: Dataset) -> str:
    level = str(dataset.get("QueryRetrieveLevel") or "").strip().upper()
    if level not in LEVELS:
        raise DoesNotMatch("the Query/Retrieve Level is STUDY, SERIES or IMAGE")
    return level


def _text(element: Any) -> str:
    """A key's value; several with backslashes between. Sequences are no keys here: theirs is empty."""
    value = element.value
    if element.VR == "SQ" or value is None:
        return ""
    if isinstance(value, bytes):
        return "?" if value else ""
    values = value if isinstance(value, MutableSequence) else [value]
    return "\\".join(str(one) for one in values)


def _uids(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    element = dataset.get(keyword)
    if not element:
        return ()
    values = element if isinstance(element, MutableSequence) else [element]
    uids = tuple(dict.fromkeys(str(one).strip() for one in values if str(one).strip()))
    if len(uids) > MOST_UIDS:
        raise DoesNotMatch(f"more than {MOST_UIDS} UIDs in {keyword}")
    if not all(_UID.fullmatch(uid) for uid in uids):
        raise DoesNotMatch(f"{keyword} is no UID, or a list of them")
    return uids
