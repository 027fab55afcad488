"""Which studies a request is about."""

from collections.abc import Callable, Mapping
from typing import Any

from imex.events import Sealed
from imex.events.sealed import SealedWanted
from imex.sharing.model import Study

OpenWanted = Callable[[Sealed, bytes], SealedWanted]
"""Opens what a request is about, in the context that it was sealed in."""


def fits(study: Study, row: Mapping[Any, Any]) -> bool:
    """Whether a study is within what the request says of modality and days."""
    if study.retiring_at is not None or study.disposed_at is not None:
        return False
    if row["modality"] and row["modality"] not in study.modalities:
        return False
    day = study.study_date
    if (row["studied_from"] or row["studied_until"]) and not day:
        return False
    return bool((row["studied_from"] or day) <= day <= (row["studied_until"] or day))
