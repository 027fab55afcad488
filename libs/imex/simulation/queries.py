"""C-FIND over what a simulated PACS keeps: the study root's levels, matched as PS3.4 C.2.2.2 says."""

import fnmatch
from collections.abc import Iterable, Iterator
from typing import Any, Final

from pydicom import Dataset

UNIQUE: Final = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
_COUNTS: Final = (
    "NumberOfStudyRelatedInstances",
    "NumberOfStudyRelatedSeries",
    "NumberOfSeriesRelatedInstances",
)


def find(identifier: Dataset, instances: Iterable[Any]) -> Iterator[Dataset]:
    """What matches, one data set each. A level that is none finds nothing."""
    level = str(identifier.get("QueryRetrieveLevel", "")).strip()
    for entity in entities(level, instances):
        if matches(identifier, entity):
            yield _answer(identifier, entity, level)


def entities(level: str, instances: Iterable[Any]) -> Iterator[Dataset]:
    """Studies, series or images, each with the facts of its first instance and how much belongs to it."""
    unique = UNIQUE.get(level)
    if unique is None:
        return
    groups: dict[str, list[Any]] = {}
    for one in instances:
        if unique in one:
            groups.setdefault(str(one[unique].value), []).append(one)
    for members in groups.values():
        entity = Dataset()
        entity.update(members[0])
        series = {str(one.get("SeriesInstanceUID", "")) for one in members}
        if level == "STUDY":
            entity.NumberOfStudyRelatedInstances = len(members)
            entity.NumberOfStudyRelatedSeries = len(series)
            entity.ModalitiesInStudy = sorted({str(one.get("Modality", "")) for one in members})
        elif level == "SERIES":
            entity.NumberOfSeriesRelatedInstances = len(members)
        yield entity


def matches(identifier: Dataset, entity: Dataset) -> bool:
    """Whether every key that has a value matches: single value, list of UIDs, wild card, range of dates."""
    return all(
        _matches(element.VR, _texts(element.value), _texts(entity.get(element.keyword, "")))
        for element in identifier
        if element.keyword not in {"QueryRetrieveLevel", "SpecificCharacterSet", *_COUNTS}
        and element.VR != "SQ"
        and _texts(element.value)
    )


def _matches(vr: str, wanted: list[str], found: list[str]) -> bool:
    for one in wanted:
        if vr in {"DA", "TM", "DT"} and "-" in one:
            low, _, high = one.partition("-")
            if any((not low or low <= value) and (not high or value <= high) for value in found):
                return True
        elif any(fnmatch.fnmatchcase(value, one.replace("[", "[[]")) for value in found):
            return True
    return False


def _texts(value: Any) -> list[str]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        value = [value]
    return [text for one in value if (text := str(one).strip()) not in {"", "None"}]


def _answer(identifier: Dataset, entity: Dataset, level: str) -> Dataset:
    answer = Dataset()
    answer.QueryRetrieveLevel = level
    for element in identifier:
        if element.keyword == "QueryRetrieveLevel":
            continue
        if element.keyword and element.keyword in entity:
            answer[element.keyword] = entity[element.keyword]
        elif element.VR != "SQ":
            answer.add_new(element.tag, element.VR, None)
    return answer
