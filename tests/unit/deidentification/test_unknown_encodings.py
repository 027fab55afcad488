"""Sequences that are written as something else: worked through where they can be read, else gone."""

import struct

import pytest

from imex.deidentification.deidentify import deidentify
from imex.deidentification.keys import ProjectKey
from imex.deidentification.profile import Profile
from imex.deidentification.release import residue
from imex.delivery.changing.encode import read, write
from imex.dicom.syntax import encoding_of

KEY = ProjectKey(bytes(32), "p1")
EXPLICIT = encoding_of("1.2.840.10008.1.2.1")


def short(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def unknown(group: int, number: int, value: bytes, length: int | None = None) -> bytes:
    header = struct.pack("<HH2sHL", group, number, b"UN", 0, len(value) if length is None else length)
    return header + value


def implicit(group: int, number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", group, number, len(value)) + value


NAME = b"OKONKWO^CHIDI "
INSIDE = implicit(0x0008, 0x0100, b"1 ") + implicit(0x0010, 0x0010, NAME)
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, len(INSIDE)) + INSIDE
END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
STUDY = short(0x0010, 0x0010, b"PN", NAME) + short(0x0010, 0x0020, b"LO", b"MRN081")


@pytest.mark.parametrize(
    "sequence",
    [
        unknown(0x0040, 0x9096, ITEM),
        unknown(0x0040, 0x9096, ITEM + END, 0xFFFFFFFF),
        unknown(0x0040, 0x9096, b"garbage " + NAME),
        short(0x0040, 0x9096, b"LO", NAME),
        unknown(0x0046, 0xFFF0, ITEM + END, 0xFFFFFFFF),
        unknown(0x0046, 0xFFF0, NAME),
    ],
    ids=["defined length", "undefined length", "no sequence", "text", "unknown tag", "unknown text"],
)
def test_nothing_hides_in_them(sequence: bytes) -> None:
    dataset = read(STUDY + sequence, EXPLICIT)
    outcome = deidentify(dataset, Profile(), KEY, "RQM")
    assert residue(dataset, outcome) == ""
    assert b"OKONKWO" not in write(dataset, EXPLICIT)
