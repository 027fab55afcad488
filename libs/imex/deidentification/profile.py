"""The Basic Application Level Confidentiality Profile with its options: what is done to each attribute."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from imex.deidentification.table import Row, Table, table
from imex.directory.policies import DeidentificationOption

MODIFIED_DATES: Final = "retain-longitudinal-modified-dates"
FULL_DATES: Final = "retain-longitudinal-full-dates"
SAFE_PRIVATE: Final = "retain-safe-private"
DESCRIPTORS: Final = "clean-descriptors"
CONTENT: Final = "clean-structured-content"
GRAPHICS: Final = "clean-graphics"

METHOD: Final = "PS3.15 Annex E Basic Profile"

CODES: Final[dict[str, tuple[str, str]]] = {
    "": ("113100", "Basic Application Confidentiality Profile"),
    GRAPHICS: ("113103", "Clean Graphics Option"),
    CONTENT: ("113104", "Clean Structured Content Option"),
    DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    FULL_DATES: ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    MODIFIED_DATES: ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "retain-patient-characteristics": ("113108", "Retain Patient Characteristics Option"),
    "retain-device-identity": ("113109", "Retain Device Identity Option"),
    SAFE_PRIVATE: ("113111", "Retain Safe Private Option"),
    "retain-institution-identity": ("113112", "Retain Institution Identity Option"),
}
"""Code values (scheme DCM) and meanings by option, CID 7050 of PS3.16; the profile itself under ''."""


class Action(Enum):
    """What is done to an attribute. A sequence that stays is worked through, whatever its action."""

    KEEP = "K"
    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"
    CLEAN = "C"
    SHIFT = "shift"
    """A date or a time with one: moved by the patient's number of days."""
    WALK = "walk"
    """A sequence of references: its items stay, with other UIDs."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The basic profile with some options."""

    options: frozenset[str] = frozenset()
    table: Table = field(default_factory=table)

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """Code values and meanings for the De-identification Method Code Sequence (0012,0064)."""
        return tuple(CODES[one] for one in ("", *sorted(self.options, key=lambda option: CODES[option])))

    @property
    def temporal(self) -> str:
        """Longitudinal Temporal Information Modified (0028,0303)."""
        if MODIFIED_DATES in self.options:
            return "MODIFIED"
        return "UNMODIFIED" if FULL_DATES in self.options else "REMOVED"

    def action(self, tag: int, vr: str) -> Action | None:
        """What is done to a standard attribute; None where the table does not have it.

        Where the table leaves a choice that depends on the attribute's type in the IOD (X/Z, X/D, Z/D,
        X/Z/D), it is the one that conforms whatever the type is.
        """
        row = self.table.row_of(tag)
        if row is None:
            return None
        chosen = {row.options[option] for option in self.options if option in row.options}
        shifts = MODIFIED_DATES in self.options and row.options.get(MODIFIED_DATES) == "C"
        if shifts and vr in _TEMPORAL:
            return Action.SHIFT  # rather than kept by another option
        if "K" in chosen:
            return Action.KEEP
        if shifts and vr == "SH":
            return Action.KEEP  # Timezone Offset From UTC: dates are moved by whole days
        if "C" in chosen and vr in _CLEANABLE and not row.tag.startswith(("50", "60")):
            return Action.CLEAN  # neither an AE title, nor bytes, nor what is drawn can be read and cleaned
        return _basic(row, vr)


def profile_with(options: Iterable[DeidentificationOption]) -> Profile:
    """The profile of an agreement's options."""
    return Profile(frozenset(options))


_TEMPORAL: Final = frozenset({"DA", "DT", "TM"})
_CLEANABLE: Final = frozenset({"LO", "LT", "PN", "SH", "SQ", "ST", "UC", "UT"})
_REFERENCES: Final = frozenset({"00081111", "00081140", "00082112"})
"""Sequences of references that stay, with other UIDs (X/Z/D and X/Z/U* of the table)."""


def _basic(row: Row, vr: str) -> Action:
    if row.code == "X":
        return Action.REMOVE
    if row.code == "U":
        return Action.UID
    if vr != "SQ":
        return Action.DUMMY if "D" in row.code else Action.EMPTY
    if row.tag in _REFERENCES:
        return Action.WALK
    if "X" in row.code:
        # left out where the table lets it, empty where it may have to be there
        return Action.EMPTY if row.code == "X/Z" else Action.REMOVE
    return Action.DUMMY if row.code == "D" else Action.EMPTY
