"""Which studies an instance refers to: in sequences of the top level, bounded."""

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from imex.dicom import HeaderScanner
from imex.dicom.wanted import MOST_REFERENCES

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


def scanned(dataset: Dataset, syntax: str = EXPLICIT) -> tuple[str, ...]:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, syntax == IMPLICIT
    write_dataset(stream, dataset)
    scanner = HeaderScanner(syntax)
    scanner.feed(stream.getvalue())
    header = scanner.finish()
    assert header.problem is None
    return header.elements.referenced_studies


def naming(*uids: str) -> list[Dataset]:
    items = []
    for uid in uids:
        series = Dataset()
        series.SeriesInstanceUID = "1.2.3.4"
        item = Dataset()
        item.StudyInstanceUID, item.ReferencedSeriesSequence = uid, [series]
        items.append(item)
    return items


def report() -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.9.1"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.Modality = "1.2.9", "1.2.9.2", "SR"
    return made


def test_what_it_is_about_is_read_in_either_encoding_and_what_it_compares_with_is_not() -> None:
    made = report()
    referenced = Dataset()
    referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", "1.2.6"
    made.ReferencedStudySequence = [referenced]
    made.StudiesContainingOtherReferencedInstancesSequence = naming("1.2.5")
    made.CurrentRequestedProcedureEvidenceSequence = naming("1.2.3", "1.2.4", "no uid")
    made.PertinentOtherEvidenceSequence = naming("1.2.7")
    for syntax in (EXPLICIT, IMPLICIT):
        assert set(scanned(made, syntax)) == {"1.2.3", "1.2.4", "1.2.6"}


def test_no_more_than_some_are_kept_and_none_from_deeper() -> None:
    made = report()
    made.CurrentRequestedProcedureEvidenceSequence = naming(*(f"1.2.3.{n}" for n in range(50)))
    inner = Dataset()
    inner.CurrentRequestedProcedureEvidenceSequence = naming("1.2.77")
    made.ContentSequence = [inner]
    found = scanned(made)
    assert found == tuple(f"1.2.3.{n}" for n in range(MOST_REFERENCES))
    assert scanned(report()) == ()
