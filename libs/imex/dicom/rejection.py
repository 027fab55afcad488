"""Rejection notes: key object selections that take images back (IHE RAD TF-2 4.66, PS3.16 TID 2010)."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from imex.dicom.part10 import dataset_offset, file_meta

if TYPE_CHECKING:
    from pydicom import Dataset

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
MOST_REFERENCES: Final = 10_000
"""That one note is written or read with."""
MOST_BYTES: Final = 16 << 20

ReasonCode = Literal["113001", "113037", "113038", "113039"]
TITLES: Final[Mapping[ReasonCode, str]] = {
    "113001": "Rejected for Quality Reasons",
    "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry",
    "113039": "Data Retention Policy Expired",
}
"""Document titles of CID 7010 that reject (PS3.16), by their DCM code."""

_DATE: Final = re.compile(r"[0-9]{8}", re.ASCII)
_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
_OTHER_THAN_IMAGES: Final = tuple(
    _ROOT + branch
    for branch in ("88.", "104.", "11.", "9.", "4.2", "481.3", "481.5", "481.8", "66.1", "66.2", "66.3")
)


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance that is taken back."""

    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str


@dataclass(frozen=True, slots=True)
class About:
    """The study of a note, and whose it is: patient data."""

    study_uid: str
    patient_id: str = ""
    issuer: str = ""
    patient_name: str = ""
    birth_date: str = ""
    accession: str = ""
    study_date: str = ""
    study_description: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """An encoded note."""

    sop_instance_uid: str
    dataset: bytes

    @property
    def digest(self) -> str:
        """Of the encoded data set."""
        return f"sha256:{hashlib.sha256(self.dataset).hexdigest()}"

    def file(self) -> bytes:
        """A Part-10 file."""
        return file_meta(KEY_OBJECT_SELECTION, self.sop_instance_uid, EXPLICIT) + self.dataset


@dataclass(frozen=True, slots=True)
class Rejection:
    """What a note says that somebody else has written."""

    code: ReasonCode
    study_uid: str
    references: tuple[Reference, ...]


def uid_of(name: UUID) -> str:
    """A UID of a UUID's (PS3.5 B.2)."""
    return f"2.25.{name.int}"


def write_note(
    about: About, code: ReasonCode, references: Sequence[Reference], *, note: UUID, series: UUID, at: datetime
) -> Note:
    """A note that rejects instances of one study; the same arguments give the same bytes.

    Raises:
        ValueError: there is nothing to reject, or more than one note may name.
    """
    from pydicom import Dataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    if not 0 < len(references) <= MOST_REFERENCES:
        raise ValueError(f"a note names between 1 and {MOST_REFERENCES} instances")
    found = Dataset()
    found.SpecificCharacterSet = "ISO_IR 192"
    found.SOPClassUID, found.SOPInstanceUID = KEY_OBJECT_SELECTION, uid_of(note)
    found.StudyInstanceUID, found.SeriesInstanceUID = about.study_uid, uid_of(series)
    _add_about(found, about)
    found.PatientSex, found.StudyTime, found.StudyID, found.ReferringPhysicianName = "", "", "", ""
    found.Modality, found.SeriesNumber, found.InstanceNumber = "KO", "1", "1"
    found.SeriesDescription = TITLES[code]
    found.ReferencedPerformedProcedureStepSequence = []
    found.Manufacturer = "Imex"
    found.ContentDate, found.ContentTime = f"{at:%Y%m%d}", f"{at:%H%M%S}"
    found.SeriesDate, found.SeriesTime = found.ContentDate, found.ContentTime
    found.TimezoneOffsetFromUTC = f"{at:%z}"[:5]
    found.CurrentRequestedProcedureEvidenceSequence = [_evidence(about.study_uid, references)]
    found.ValueType, found.ContinuityOfContent = "CONTAINER", "SEPARATE"
    found.ConceptNameCodeSequence = [_code(code, TITLES[code])]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    found.ContentTemplateSequence = [template]
    found.ContentSequence = [_item(one) for one in references]
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, found)
    return Note(found.SOPInstanceUID, stream.getvalue())


def _add_about(found: "Dataset", about: About) -> None:
    """Whose it is, word for word: what a sender writes need not be what the standard allows."""
    from pydicom import DataElement
    from pydicom.config import IGNORE

    for tag, vr, value, always in (
        (0x00080020, "DA", about.study_date, True),
        (0x00080050, "SH", about.accession, True),
        (0x00081030, "LO", about.study_description, False),
        (0x00100010, "PN", about.patient_name, True),
        (0x00100020, "LO", about.patient_id, True),
        (0x00100021, "LO", about.issuer, False),
        (0x00100030, "DA", about.birth_date, True),
    ):
        # a date that is none cannot even be encoded
        said = "" if vr == "DA" and not _DATE.fullmatch(value) else value.replace("\\", " ")
        said = said.encode("utf-8", "replace").decode()
        if said or always:
            found.add(DataElement(tag, vr, said, validation_mode=IGNORE))


def _code(value: str, meaning: str) -> "Dataset":
    from pydicom import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _sop(one: Reference) -> "Dataset":
    from pydicom import Dataset

    sop = Dataset()
    sop.ReferencedSOPClassUID, sop.ReferencedSOPInstanceUID = one.sop_class_uid, one.sop_instance_uid
    return sop


def _evidence(study_uid: str, references: Sequence[Reference]) -> "Dataset":
    from pydicom import Dataset

    by_series: dict[str, list[Reference]] = defaultdict(list)
    for one in references:
        by_series[one.series_uid].append(one)
    evidence = Dataset()
    evidence.StudyInstanceUID = study_uid
    series = []
    for uid, instances in by_series.items():
        of_series = Dataset()
        of_series.SeriesInstanceUID = uid
        of_series.ReferencedSOPSequence = [_sop(one) for one in instances]
        series.append(of_series)
    evidence.ReferencedSeriesSequence = series
    return evidence


def _item(one: Reference) -> "Dataset":
    from pydicom import Dataset

    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "COMPOSITE" if one.sop_class_uid.startswith(_OTHER_THAN_IMAGES) else "IMAGE"
    item.ReferencedSOPSequence = [_sop(one)]
    return item


def relist(dataset: "Dataset") -> None:
    """Write the content of a note anew from its evidence, which de-identification keeps."""
    title = dataset.get("ConceptNameCodeSequence")
    if str(dataset.SOPClassUID) != KEY_OBJECT_SELECTION or not title or str(title[0].CodeValue) not in TITLES:
        return
    dataset.ContentSequence = [
        _item(Reference(str(sop.ReferencedSOPInstanceUID), str(sop.ReferencedSOPClassUID), ""))
        for evidence in dataset.get("CurrentRequestedProcedureEvidenceSequence") or ()
        for series in evidence.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    ]


def read_note(file: bytes) -> Rejection | None:
    """What a key object selection of ours (a Part-10 file) rejects; None where it rejects nothing.

    Other studies that it names are passed over: a note is of the study that it rejects.
    """
    from io import BytesIO

    from pydicom import dcmread

    if len(file) > MOST_BYTES:
        return None
    try:
        dataset_offset(file)
        found = dcmread(BytesIO(file), stop_before_pixels=True)
        title = found.ConceptNameCodeSequence[0]
        code = next((one for one in TITLES if one == str(title.CodeValue)), None)
        if code is None or str(title.CodingSchemeDesignator) != "DCM":
            return None
        study_uid = str(found.StudyInstanceUID)
        references = tuple(
            Reference(
                str(sop.ReferencedSOPInstanceUID),
                str(sop.ReferencedSOPClassUID),
                str(series.SeriesInstanceUID),
            )
            for evidence in found.CurrentRequestedProcedureEvidenceSequence
            if str(evidence.StudyInstanceUID) == study_uid
            for series in evidence.ReferencedSeriesSequence
            for sop in series.ReferencedSOPSequence
        )
    except Exception:  # noqa: BLE001  what strangers write may be wrong in any way: then it is a document
        return None
    if not 0 < len(references) <= MOST_REFERENCES:
        return None
    return Rejection(code, study_uid, references)
