"""DICOMDIR, read back by pydicom and DCMTK's rules: every file is found, whatever its header lacks."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.fileset import FileSet
from pydicom.filewriter import write_dataset

from imex.dicom.fileset import DIRECTORY_CLASS, FileSetDirectory, read_head
from imex.testing.dicom import synthetic_study

EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
RT_PLAN = "1.2.840.10008.5.1.4.1.1.481.5"
RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
RT_STRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
PRESENTATION = "1.2.840.10008.5.1.4.1.1.11.1"
WAVEFORM = "1.2.840.10008.5.1.4.1.1.9.1.1"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def encoded(**elements: Any) -> bytes:
    dataset = Dataset()
    for word, value in elements.items():
        setattr(dataset, word, value)
    target = DicomBytesIO()
    target.is_implicit_VR, target.is_little_endian = False, True
    write_dataset(target, dataset)
    return target.getvalue()


def add(directory: FileSetDirectory, data: bytes, uid: str, sop_class: str = CT) -> tuple[str, str, str]:
    head = read_head(data, EXPLICIT)
    file_id = directory.next_file_id(head)
    directory.add(head, file_id, sop_class, uid, EXPLICIT)
    return file_id


def records(directory: FileSetDirectory) -> list[Dataset]:
    """The records, having checked that each can be reached by its links exactly once."""
    content = b"".join(directory.encode("2.25.7"))
    read = dcmread(BytesIO(content))
    assert read.file_meta.MediaStorageSOPClassUID == DIRECTORY_CLASS
    found = list(read.DirectoryRecordSequence)
    by_place = {one.seq_item_tell: one for one in found}
    reached: list[Dataset] = []

    def follow(place: int) -> None:
        while place:
            one = by_place[place]
            reached.append(one)
            follow(one.OffsetOfReferencedLowerLevelDirectoryEntity)
            place = one.OffsetOfTheNextDirectoryRecord

    follow(read.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity)
    assert [id(one) for one in reached] == [id(one) for one in found]
    return found


def test_a_study_is_listed_as_it_is(tmp_path: Path) -> None:
    study = synthetic_study(4, size=16, patient_name="Müller^Jörg")
    directory = FileSetDirectory()
    for one in study.instances:
        file_id = add(directory, one.dataset, one.sop_instance_uid)
        path = tmp_path.joinpath(*file_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one.file())
    (tmp_path / "DICOMDIR").write_bytes(b"".join(directory.encode("2.25.7")))
    listed = FileSet(tmp_path / "DICOMDIR")
    assert {one.SOPInstanceUID for one in listed} == set(study.digests)
    assert {str(one.PatientName) for one in listed} == {"Müller^Jörg"}
    assert {dcmread(one.path).SOPInstanceUID for one in listed} == set(study.digests)


@pytest.mark.parametrize(
    ("sop_class", "kind", "elements"),
    [
        (CT, "IMAGE", {}),
        (SEGMENTATION, "IMAGE", {"Modality": "SEG"}),
        (SR, "SR DOCUMENT", {"ConceptNameCodeSequence": [Dataset()]}),
        (KEY_OBJECTS, "KEY OBJECT DOC", {"ConceptNameCodeSequence": [Dataset()]}),
        (PDF, "ENCAP DOC", {"EncapsulatedDocument": b"%PDF" + b" " * 100, "DocumentTitle": "Report"}),
        (RT_PLAN, "RT PLAN", {"RTPlanLabel": "plan 1"}),
        (RT_DOSE, "RT DOSE", {"DoseSummationType": "BEAM"}),
        (RT_STRUCT, "RT STRUCTURE SET", {"StructureSetLabel": "set 1"}),
        (PRESENTATION, "PRESENTATION", {}),
        (WAVEFORM, "WAVEFORM", {}),
    ],
)
def test_each_kind_of_object_has_its_record(sop_class: str, kind: str, elements: dict[str, Any]) -> None:
    directory = FileSetDirectory()
    add(
        directory,
        encoded(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", **elements),
        "1.2.3.4",
        sop_class,
    )
    found = records(directory)
    assert [one.DirectoryRecordType for one in found] == ["PATIENT", "STUDY", "SERIES", kind]
    assert found[-1].ReferencedSOPInstanceUIDInFile == "1.2.3.4"
    if sop_class == PDF:
        assert found[-1].MIMETypeOfEncapsulatedDocument == "application/pdf"


def test_a_document_that_lacks_what_its_record_needs_is_listed_all_the_same() -> None:
    directory = FileSetDirectory()
    add(directory, encoded(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3"), "1.2.3.4", SR)
    assert [one.DirectoryRecordType for one in records(directory)][-1] == "IMAGE"


@pytest.mark.parametrize("data", [b"", b"\x08\x00", b"no data set at all", bytes(range(256)) * 8])
def test_a_header_that_cannot_be_read_is_listed_all_the_same(data: bytes) -> None:
    directory = FileSetDirectory()
    add(directory, data, "1.2.3.4")
    [_, _, _, image] = records(directory)
    assert image.ReferencedSOPInstanceUIDInFile == "1.2.3.4"


def test_what_stands_behind_the_wanted_elements_is_not_read() -> None:
    pixels = b"\xe0\x7f\x10\x00OW\0\0\xff\xff\xff\x7f" + b"\0" * 100
    assert read_head(encoded(PatientID="P1", InstanceNumber="7") + pixels, EXPLICIT).PatientID == "P1"


_TEXTS = st.text(max_size=20)


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), _TEXTS, _TEXTS),
        min_size=1,
        max_size=12,
    )
)
def test_every_file_is_reached_whatever_the_headers_say(files: list[tuple[int, int, int, str, str]]) -> None:
    directory = FileSetDirectory()
    ids = []
    for number, (patient, study, series, name, label) in enumerate(files):
        data = encoded(
            SpecificCharacterSet="ISO_IR 192",
            PatientID=f"P{patient}",
            PatientName=name,
            StudyDescription=label,
            StudyInstanceUID=f"1.{patient}.{study}",
            SeriesInstanceUID=f"1.{patient}.{study}.{series}",
        )
        ids.append(add(directory, data, f"1.9.{number}"))
    assert len(set(ids)) == len(ids)
    assert all(len(part) <= 8 and part.isalnum() and part == part.upper() for one in ids for part in one)
    leaves = [one for one in records(directory) if one.DirectoryRecordType == "IMAGE"]
    assert {one.ReferencedSOPInstanceUIDInFile for one in leaves} == {f"1.9.{n}" for n in range(len(files))}
    assert {tuple(one.ReferencedFileID) for one in leaves} == set(ids)
