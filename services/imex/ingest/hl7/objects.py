"""Pure: a report as DICOM instances: a Basic Text SR of its text, an Encapsulated PDF of each document.

The same report of the same sender gives the same bytes and UIDs, so that a repeat is a duplicate. What it
says counts beside its control id, which is unique for a while only (MSH-10).
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Final
from uuid import UUID, uuid5

from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from imex.ingest.hl7.report import Report

ENCAPSULATED_PDF: Final = "1.2.840.10008.5.1.4.1.1.104.1"
BASIC_TEXT_SR: Final = "1.2.840.10008.5.1.4.1.1.88.11"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
_NAMESPACE: Final = UUID("5b1b7c1e-5d2a-4b0f-9a55-0f7b2c1d9e42")
_SEPARATOR: Final = "\x1f"
_MOST_LO: Final = 64
_CONCEPTS: Final = {
    "finding": ("121071", "Finding"),
    "conclusion": ("121077", "Conclusion"),
    "recommendation": ("121075", "Recommendation"),
}
"""DCM codes of CID 7001 and around it."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance, encoded as explicit little endian."""

    sop_class_uid: str
    sop_instance_uid: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """Who sent the message: part of what its instances are named by."""

    institution: str
    application: str
    facility: str


def instances_of(report: Report, sent: Sent) -> list[Instance]:
    """What is stored of a report."""
    found, named = [], _named(report, sent)
    if report.sections:
        found.append(_encoded(_text_report(report, named)))
    found += [_encoded(_document(report, named, number)) for number in range(len(report.documents))]
    return found


def _named(report: Report, sent: Sent) -> str:
    """What its UIDs are made of."""
    documents = [hashlib.sha256(one).hexdigest() for one in report.documents]
    said = json.dumps([asdict(replace(report, documents=())), documents])
    digest = hashlib.sha256(said.encode()).hexdigest()
    return _SEPARATOR.join((sent.institution, sent.application, sent.facility, digest))


def _uid(named: str, what: str) -> str:
    return f"2.25.{uuid5(_NAMESPACE, _SEPARATOR.join((named, what))).int}"


def _common(report: Report, named: str, what: str) -> Dataset:
    patient, found = report.patient, Dataset()
    found.SpecificCharacterSet = "ISO_IR 192"
    found.SOPInstanceUID = _uid(named, what)
    found.StudyInstanceUID = report.study_uid
    found.SeriesInstanceUID = _uid(named, f"series of {what}")
    found.ContentDate, found.ContentTime = report.at[:8], report.at[8:]
    found.SeriesDate, found.SeriesTime = found.ContentDate, found.ContentTime
    found.StudyDate, found.StudyTime, found.StudyID, found.ReferringPhysicianName = "", "", "", ""
    for tag, vr, value, always in (
        (0x00080050, "SH", report.accession, True),
        (0x00100010, "PN", patient.name[:_MOST_LO], True),
        (0x00100020, "LO", patient.patient_id, True),
        (0x00100021, "LO", patient.issuer, False),
        (0x00100030, "DA", patient.birth_date, True),
        (0x00100040, "CS", patient.sex, True),
        (0x0008103E, "LO", _line(report.title), True),
    ):
        if value or always:
            found.add(DataElement(tag, vr, value, validation_mode=IGNORE))
    if patient.others:
        found.OtherPatientIDsSequence = [_other(*one) for one in patient.others]
    found.Manufacturer = "Imex"
    found.SeriesNumber, found.InstanceNumber = "1", "1"
    return found


def _other(number: str, issuer: str) -> Dataset:
    found = Dataset()
    found.add(DataElement(0x00100020, "LO", number, validation_mode=IGNORE))
    found.add(DataElement(0x00100021, "LO", issuer, validation_mode=IGNORE))
    found.TypeOfPatientID = "TEXT"
    return found


def _text_report(report: Report, named: str) -> Dataset:
    """Basic Text SR (PS3.3 A.35.1)."""
    found = _common(report, named, "text")
    found.SOPClassUID, found.Modality = BASIC_TEXT_SR, "SR"
    found.ReferencedPerformedProcedureStepSequence = []
    found.PerformedProcedureCodeSequence = []
    found.CompletionFlag = "PARTIAL" if report.state == "preliminary" else "COMPLETE"
    found.PreliminaryFlag = "PRELIMINARY" if report.state == "preliminary" else "FINAL"
    found.VerificationFlag = "UNVERIFIED"
    found.ValueType, found.ContinuityOfContent = "CONTAINER", "SEPARATE"
    found.ConceptNameCodeSequence = [_code("18748-4", "LN", "Diagnostic imaging report")]
    items = []
    for section in report.sections:
        value, meaning = _CONCEPTS[section.kind]
        item = Dataset()
        item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
        item.ConceptNameCodeSequence = [_code(value, "DCM", meaning)]
        item.TextValue = section.text
        items.append(item)
    found.ContentSequence = items
    return found


def _document(report: Report, named: str, number: int) -> Dataset:
    """Encapsulated PDF (PS3.3 A.45.1)."""
    document = report.documents[number]
    found = _common(report, named, f"document {number + 1}")
    found.SOPClassUID, found.Modality, found.ConversionType = ENCAPSULATED_PDF, "DOC", "WSD"
    found.AcquisitionDateTime = ""
    found.BurnedInAnnotation = "YES"
    found.add(DataElement(0x00420010, "ST", _line(report.title), validation_mode=IGNORE))
    found.ConceptNameCodeSequence = [_code("18748-4", "LN", "Diagnostic imaging report")]
    found.MIMETypeOfEncapsulatedDocument = "application/pdf"
    found.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    found.EncapsulatedDocumentLength = len(document)
    return found


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    found = Dataset()
    found.CodeValue, found.CodingSchemeDesignator, found.CodeMeaning = value, scheme, meaning
    return found


def _line(text: str) -> str:
    """For a value that has no lines, and no backslashes."""
    plain = "".join(" " if one == "\\" or not one.isprintable() else one for one in text)
    return plain.strip()[:_MOST_LO]


def _encoded(dataset: Dataset) -> Instance:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, dataset)
    return Instance(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), stream.getvalue())
