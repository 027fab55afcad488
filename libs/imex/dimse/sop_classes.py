"""Which abstract syntaxes carry instances: Storage Service Class (PS3.4 annex B), retired and private too.

Written as a rule rather than a list, so that a storage class that is newer than this code, or a vendor's own,
is taken. Only what the standard itself assigns to another service is not.
"""

from typing import Final

VERIFICATION: Final = "1.2.840.10008.1.1"

_STANDARD_ROOT = "1.2.840.10008."
_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_NOT_STORAGE_UNDER_STORAGE_ROOT = (
    "1.2.840.10008.5.1.4.1.1.200.4",  # Protocol Approval Information Model: FIND, MOVE, GET
    "1.2.840.10008.5.1.4.1.1.200.5",
    "1.2.840.10008.5.1.4.1.1.200.6",
    "1.2.840.10008.5.1.4.1.1.201.2",  # Inventory: FIND, MOVE, GET, Creation, Repository Query
    "1.2.840.10008.5.1.4.1.1.201.3",
    "1.2.840.10008.5.1.4.1.1.201.4",
    "1.2.840.10008.5.1.4.1.1.201.5",
    "1.2.840.10008.5.1.4.1.1.201.6",
)
_STORAGE_ELSEWHERE = frozenset(
    {
        "1.2.840.10008.5.1.1.27",  # Stored Print
        "1.2.840.10008.5.1.1.29",  # Hardcopy Grayscale Image
        "1.2.840.10008.5.1.1.30",  # Hardcopy Color Image
        "1.2.840.10008.5.1.4.34.1",  # RT Beams Delivery Instruction (Trial)
        "1.2.840.10008.5.1.4.34.7",  # RT Beams Delivery Instruction
        "1.2.840.10008.5.1.4.34.10",  # RT Brachy Application Setup Delivery Instruction
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
        "1.2.840.10008.5.1.4.39.1",  # Color Palette
        "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template
        "1.2.840.10008.5.1.4.44.1",  # Implant Assembly Template
        "1.2.840.10008.5.1.4.45.1",  # Implant Template Group
    }
)


def is_storage(abstract_syntax: str) -> bool:
    """Whether instances of this SOP class are taken by C-STORE."""
    if not abstract_syntax.startswith(_STANDARD_ROOT):
        return True
    if abstract_syntax.startswith(_STORAGE_ROOT):
        return abstract_syntax not in _NOT_STORAGE_UNDER_STORAGE_ROOT
    return abstract_syntax in _STORAGE_ELSEWHERE
