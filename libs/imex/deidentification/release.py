"""Whether a de-identified data set may leave: what its header does not show, and what is still in it."""

import re
from typing import Final

from pydicom.dataset import Dataset

from imex.deidentification.deidentify import Outcome
from imex.deidentification.reading import text_of, texts, walk

RISKY_MODALITIES: Final = {
    "US": "ultrasound",
    "IVUS": "intravascular ultrasound",
    "ES": "endoscopy",
    "XC": "photography",
    "GM": "microscopy",
    "SM": "slide microscopy",
    "OP": "ophthalmic photography",
    "OT": "an unspecified kind",
    "SC": "secondary capture",
    "DOC": "a document",
    "ECG": "electrocardiography",
    "XA": "angiography",
    "RF": "fluoroscopy",
    "BMD": "bone densitometry",
}
"""Modalities whose images are known to carry text in their pixels where nobody says that they do not."""

RISKY_CLASSES: Final = {
    "1.2.840.10008.5.1.4.1.1.7": "a secondary capture",
    "1.2.840.10008.5.1.4.1.1.6.1": "an ultrasound image",
    "1.2.840.10008.5.1.4.1.1.3.1": "an ultrasound loop",
    "1.2.840.10008.5.1.4.1.1.77.1": "an image in visible light",
    "1.2.840.10008.5.1.4.1.1.12": "an X-ray angiography or fluoroscopy image",
}
"""SOP classes, and all below them."""

_DOCUMENT: Final = 0x00420011
_DOCUMENT_CLASSES: Final = "1.2.840.10008.5.1.4.1.1.104."
_DERIVED_SCREEN: Final = "SCREEN SAVE"
_SCANNED: Final = frozenset(["AE", "CS", "LO", "LT", "OB", "PN", "SH", "ST", "UC", "UN", "UR", "UT"])
_UID: Final = re.compile(r"(?<![0-9.])[0-9]{1,64}(?:\.[0-9]{1,64}){3,}")


def document(dataset: Dataset) -> str:
    """Why an encapsulated document may not leave, in words; empty where it is none."""
    if text_of(dataset, 0x00080016).startswith(_DOCUMENT_CLASSES) or _DOCUMENT in dataset:
        return (
            "an encapsulated document cannot be de-identified; share it under an agreement that does not "
            "ask for it"
        )
    return ""


def burned_in(dataset: Dataset, *, pixels: bool) -> str:
    """Why the pixels may show who it is, in words; empty where nothing speaks for it."""
    said = text_of(dataset, 0x00280301).upper()
    if pixels and said == "YES":
        return "its header says that who it is stands in the pixels"
    if pixels and text_of(dataset, 0x00280302).upper() == "YES":
        return "its header says that the face can be recognised"
    kind = _risky_kind(dataset) if pixels and said != "NO" else ""
    return f"{kind} does not say whether who it is stands in the pixels" if kind else ""


def _risky_kind(dataset: Dataset) -> str:
    sop_class = text_of(dataset, 0x00080016)
    for risky, words in RISKY_CLASSES.items():
        if sop_class == risky or sop_class.startswith(risky + "."):
            return words
    modality = text_of(dataset, 0x00080060).upper()
    if modality in RISKY_MODALITIES:
        return f"{RISKY_MODALITIES[modality]} ({modality})"
    image_type = texts(dataset[0x00080008].value) if 0x00080008 in dataset else []
    return "a screen save" if any(_DERIVED_SCREEN in part.upper() for part in image_type) else ""


def residue(dataset: Dataset, outcome: Outcome) -> str:
    """What of the patient is still in it, and where, in words without the value; empty when nothing is."""
    ours = {outcome.pseudonym}
    for holder, tag, vr in walk(dataset):
        if vr == "UI":
            if any(uid in outcome.uids for uid in texts(holder[tag].value)):
                return f"an original UID is left in ({tag >> 16:04X},{tag & 0xFFFF:04X})"
            continue
        if vr not in _SCANNED:
            continue
        for text in texts(holder[tag].value):
            if text in ours:
                continue
            if any(uid in outcome.uids for uid in _UID.findall(text)):
                return f"an original UID is left in ({tag >> 16:04X},{tag & 0xFFFF:04X})"
            if found := outcome.known.found_in(text, vocabulary=vr == "CS"):
                return f"the patient's {found} is left in ({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return ""
