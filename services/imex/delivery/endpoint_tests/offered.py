"""What a DICOM node is asked whether it takes it: storage SOP classes and transfer syntaxes in common use."""

from collections.abc import Sequence
from typing import Final

from imex.dimse.sop_classes import VERIFICATION
from imex.directory.model import Accepts

EXPLICIT: Final = "1.2.840.10008.1.2.1"
IMPLICIT: Final = "1.2.840.10008.1.2"
UNCOMPRESSED: Final = (EXPLICIT, IMPLICIT)
COMPRESSED: Final = (
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless SV1
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.5",  # RLE Lossless
)
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
IMAGES: Final = tuple(
    _STORAGE + suffix
    for suffix in (
        *("2", "2.1", "4", "4.1", "1.1", "1.2", "3.1", "6.1", "7", "12.1", "20", "128"),
        "13.1.3",
    )
)
"""CT, MR, plain and digital X-ray, mammography, ultrasound, secondary capture, XA, NM, PET, tomosynthesis."""
OTHERS: Final = tuple(
    _STORAGE + suffix
    for suffix in (
        *("1", "11.1", "12.2", "66.4", "88.11", "88.22", "88.33", "88.59", "104.1", "481.2", "481.3"),
        "481.5",
    )
)
"""CR, presentation states, RF, segmentations, reports, key objects, PDF, dose, structures and plans."""


def to_ask(accepts: Accepts) -> list[tuple[str, Sequence[str]]]:
    """At most 128 presentation contexts, one transfer syntax each, Verification first.

    SOP classes that the directory lists come before all others.
    """
    listed = [one for one in accepts.sop_classes or () if one not in IMAGES]
    syntaxes = [one for one in accepts.transfer_syntaxes or () if one not in (*UNCOMPRESSED, *COMPRESSED)]
    pairs = [
        *((sop_class, syntax) for sop_class in listed for syntax in UNCOMPRESSED),
        *((sop_class, syntax) for sop_class in IMAGES for syntax in UNCOMPRESSED),
        *((sop_class, syntax) for sop_class in (*listed, *IMAGES) for syntax in syntaxes),
        *((sop_class, syntax) for sop_class in IMAGES for syntax in COMPRESSED),
        *((sop_class, syntax) for sop_class in OTHERS for syntax in UNCOMPRESSED),
    ]
    asked = dict.fromkeys([(VERIFICATION, IMPLICIT), *pairs])
    contexts: list[tuple[str, Sequence[str]]] = [(sop_class, (syntax,)) for sop_class, syntax in asked]
    return contexts[:128]
