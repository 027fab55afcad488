"""What the three ways of changing a data set have in common."""

from dataclasses import dataclass
from typing import Protocol

from imex.delivery.changing.facts import Given
from imex.delivery.changing.split import Parts
from imex.dicom.syntax import Encoding


@dataclass(frozen=True, slots=True)
class New:
    """A new head, and what is to be said of it."""

    head: bytes
    sop_instance_uid: str
    changes: tuple[str, ...]
    """In words, for the receipt; no patient data."""
    given: Given | None = None
    study_uid: str = ""
    """Of which it is sent; empty where that is its own."""


class Form(Protocol):
    """One way of changing data sets."""

    keeps_tail: bool
    """Whether what stands behind the pixel data stays."""

    async def of(self, parts: Parts, encoding: Encoding) -> New | None:
        """The new head; None where nothing changes.

        Raises:
            CannotChange: it cannot be made, or the instance must not leave.
        """
        ...
