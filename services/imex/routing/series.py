"""Whether the series that rules require are there. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from imex.directory import DirectoryIndex
from imex.directory.cel import SeriesCondition


def requires_series(index: DirectoryIndex) -> bool:
    """Whether any rule of this version does; found once for a version."""
    known: bool | None = index.kept.get(requires_series)
    if known is None:
        rules = index.directory.rules
        known = index.kept[requires_series] = any(one.completeness.required_series for one in rules)
    return known


def there(condition: str, series: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a rule's condition holds for a study's series; one that cannot be evaluated does not."""
    return SeriesCondition(condition).holds(series) is True
