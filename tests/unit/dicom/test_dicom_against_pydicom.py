"""The scanner agrees with pydicom on pydicom's own files."""

import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from imex.dicom import HeaderScanner, dataset_offset, transfer_syntax_of

DATA = Path(pydicom.__file__).parent / "data"
KNOWN_PROBLEMS = {
    "winter.dcm": "the same element twice",
    "MR_truncated.dcm": "truncated",
    "rtplan_truncated.dcm": "truncated",
    "SC_rgb_jpeg.dcm": "unknown value representation",
    "DICOMDIR-nooffset": "an item is longer than its sequence",
    "nested_priv_SQ.dcm": "cannot stand here",
}
KEYWORDS = {
    "SOPClassUID": "sop_class_uid",
    "SOPInstanceUID": "sop_instance_uid",
    "StudyInstanceUID": "study_uid",
    "SeriesInstanceUID": "series_uid",
    "Modality": "modality",
    "Rows": "rows",
    "Columns": "columns",
    "SamplesPerPixel": "samples_per_pixel",
    "BitsAllocated": "bits_allocated",
}
PERSONAL = {
    "PatientName": "patient_name",
    "PatientID": "patient_id",
    "PatientBirthDate": "birth_date",
    "AccessionNumber": "accession_number",
    "StudyDescription": "study_description",
}


def part10_files() -> list[Path]:
    found = []
    for path in sorted(DATA.rglob("*")):
        if path.is_file() and path.suffix in ("", ".dcm"):
            head = path.read_bytes()[:132]
            if head[128:] == b"DICM" and path.name != "meta_missing_tsyntax.dcm":
                found.append(path)
    return found


@pytest.mark.parametrize("path", part10_files(), ids=lambda path: path.name)
def test_the_scanner_agrees_with_pydicom(path: Path) -> None:
    data = path.read_bytes()
    scanner = HeaderScanner(transfer_syntax_of(data))
    scanner.feed(memoryview(data)[dataset_offset(data) :])
    header = scanner.finish()
    if path.name in KNOWN_PROBLEMS:
        assert KNOWN_PROBLEMS[path.name] in str(header.problem)
        return
    assert header.problem is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(path)
        for keyword, name in KEYWORDS.items():
            assert _shown(ds, keyword) == str(getattr(header.elements, name) or ""), keyword
        for keyword, name in PERSONAL.items():
            assert _shown(ds, keyword) == getattr(header.identity, name), keyword
        if "PixelData" in ds and not ds.file_meta.TransferSyntaxUID.is_encapsulated:
            assert header.pixel_bytes == len(ds.PixelData)


def _shown(ds: Dataset, keyword: str) -> str:
    value = ds.get(keyword)
    if isinstance(value, pydicom.multival.MultiValue):
        return "\\".join(str(each) for each in value)
    return str("" if value is None else value).strip(" \0")
