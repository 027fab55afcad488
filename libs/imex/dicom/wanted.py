"""Which elements a scan keeps, and how their values become fields of a header."""

from typing import Final, NamedTuple


class Kind:
    """How a wanted value is read."""

    TEXT: Final = "text"
    """Any string without code extensions; decoded with the data set's character set where that matters."""
    NAME: Final = "name"
    UID: Final = "uid"
    SHORT: Final = "short"
    NUMBER: Final = "number"
    """An integer string (VR IS)."""


class Want(NamedTuple):
    """Field of :class:`~imex.dicom.header.Elements` or :class:`~imex.dicom.header.Identity`, and its kind."""

    field: str
    kind: str


ELEMENTS: Final[dict[int, Want]] = {
    0x00080005: Want("character_set", Kind.TEXT),
    0x00080016: Want("sop_class_uid", Kind.UID),
    0x00080018: Want("sop_instance_uid", Kind.UID),
    0x00080020: Want("study_date", Kind.TEXT),
    0x00080030: Want("study_time", Kind.TEXT),
    0x00080060: Want("modality", Kind.TEXT),
    0x00080070: Want("manufacturer", Kind.TEXT),
    0x00080080: Want("institution_name", Kind.TEXT),
    0x00180015: Want("body_part", Kind.TEXT),
    0x0020000D: Want("study_uid", Kind.UID),
    0x0020000E: Want("series_uid", Kind.UID),
    0x00200011: Want("series_number", Kind.NUMBER),
    0x00200013: Want("instance_number", Kind.NUMBER),
    0x00201208: Want("study_instances", Kind.NUMBER),
    0x00280002: Want("samples_per_pixel", Kind.SHORT),
    0x00280004: Want("photometric_interpretation", Kind.TEXT),
    0x00280008: Want("number_of_frames", Kind.NUMBER),
    0x00280010: Want("rows", Kind.SHORT),
    0x00280011: Want("columns", Kind.SHORT),
    0x00280100: Want("bits_allocated", Kind.SHORT),
    0x00280301: Want("burned_in", Kind.TEXT),
}

IDENTITY: Final[dict[int, Want]] = {
    0x00080020: Want("study_date", Kind.TEXT),
    0x00080030: Want("study_time", Kind.TEXT),
    0x00080050: Want("accession_number", Kind.TEXT),
    0x00080090: Want("referring_physician", Kind.NAME),
    0x00081030: Want("study_description", Kind.TEXT),
    0x0008103E: Want("series_description", Kind.TEXT),
    0x00100010: Want("patient_name", Kind.NAME),
    0x00100020: Want("patient_id", Kind.TEXT),
    0x00100021: Want("issuer_of_patient_id", Kind.TEXT),
    0x00100030: Want("birth_date", Kind.TEXT),
    0x00100040: Want("sex", Kind.TEXT),
    0x00200010: Want("study_id", Kind.TEXT),
}

OTHER_PATIENT_IDS: Final = 0x00101002
PATIENT_ID: Final = 0x00100020
ISSUER_OF_PATIENT_ID: Final = 0x00100021
ISSUER_OF_ACCESSION: Final = 0x00080051
ISSUER_OF_PATIENT_ID_QUALIFIERS: Final = 0x00100024
LOCAL_NAMESPACE: Final = 0x00400031
UNIVERSAL_ENTITY_ID: Final = 0x00400032

STUDY_UID: Final = 0x0020000D
REFERENCED_SOP_INSTANCE_UID: Final = 0x00081155
REFERENCED_STUDIES: Final[dict[int, int]] = {
    0x0040A375: STUDY_UID,  # Current Requested Procedure Evidence Sequence
    0x00081110: REFERENCED_SOP_INSTANCE_UID,  # Referenced Study Sequence
}
"""Sequences that name the studies that an instance is about, and by which element of each item.

What it merely compares with, (0040,A385) and (0008,1200), is none of them: whose prior was looked at is not
told what was found in another's images.
"""
MOST_REFERENCES: Final = 16
"""Of one sequence."""

TOP_LEVEL: Final = frozenset(ELEMENTS) | frozenset(IDENTITY)
INSIDE: Final[dict[int, frozenset[int]]] = {
    ISSUER_OF_ACCESSION: frozenset({LOCAL_NAMESPACE, UNIVERSAL_ENTITY_ID}),
    ISSUER_OF_PATIENT_ID_QUALIFIERS: frozenset({UNIVERSAL_ENTITY_ID}),
    OTHER_PATIENT_IDS: frozenset({PATIENT_ID, ISSUER_OF_PATIENT_ID}),
    **{sequence: frozenset({tag}) for sequence, tag in REFERENCED_STUDIES.items()},
}
"""Elements wanted from the first item of a sequence at the top level."""

EVERY_ITEM: Final[dict[int, int]] = {
    OTHER_PATIENT_IDS: 8,
    **dict.fromkeys(REFERENCED_STUDIES, MOST_REFERENCES),
}
"""Sequences of which later items are wanted too, and how many."""

PIXEL_DATA: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, Double Float and (integer) Pixel Data."""
