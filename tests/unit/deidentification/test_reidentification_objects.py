"""What recipients return, kind by kind: references, patient and study are the origin's again."""

from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from imex.deidentification.deidentify import deidentify
from imex.deidentification.keys import ProjectKey
from imex.deidentification.profile import Profile
from imex.deidentification.reading import uids_of
from imex.deidentification.reidentify import Origin, facts_of, reidentify
from imex.delivery.changing.encode import read, write
from imex.dicom.syntax import encoding_of

KEY = ProjectKey(bytes(range(32)), "plan-1")
CT = "1.2.840.10008.5.1.4.1.1.2"


def item(**values: object) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def several(*items: Dataset) -> Sequence:
    return Sequence(items)


def original(name: str = "OKONKWO^CHIDI", charset: str = "ISO_IR 192") -> Dataset:
    """An image of the origin."""
    return item(
        SpecificCharacterSet=charset,
        SOPClassUID=CT,
        SOPInstanceUID="1.2.826.1.4",
        StudyInstanceUID="1.2.826.1.1",
        SeriesInstanceUID="1.2.826.1.2",
        FrameOfReferenceUID="1.2.826.1.3",
        Modality="CT",
        PatientName=name,
        PatientID="MRN0815",
        IssuerOfPatientID="RQM",
        PatientBirthDate="19710403",
        PatientSex="M",
        StudyDate="20260401",
        StudyTime="101500",
        AccessionNumber="A4711",
        StudyDescription="CT thorax",
        StudyID="7",
    )


def reference(image: Dataset) -> Dataset:
    return item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=image.SOPInstanceUID)


def structure_set(image: Dataset) -> Dataset:
    contour = item(ContourImageSequence=several(reference(image)), NumberOfContourPoints=1)
    series = item(SeriesInstanceUID=image.SeriesInstanceUID, ContourImageSequence=several(reference(image)))
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=image.StudyInstanceUID,
        RTReferencedSeriesSequence=several(series),
    )
    frame = item(FrameOfReferenceUID=image.FrameOfReferenceUID, RTReferencedStudySequence=several(study))
    return item(
        Modality="RTSTRUCT",
        StructureSetLabel=f"for {image.PatientID}",
        ReferencedFrameOfReferenceSequence=several(frame),
        StructureSetROISequence=several(item(ReferencedFrameOfReferenceUID=image.FrameOfReferenceUID)),
        ROIContourSequence=several(item(ContourSequence=several(contour))),
    )


def plan(image: Dataset) -> Dataset:
    return item(
        Modality="RTPLAN",
        FrameOfReferenceUID=image.FrameOfReferenceUID,
        ReferencedStructureSetSequence=several(reference(image)),
        BeamSequence=several(item(ReferencedReferenceImageSequence=several(reference(image)))),
    )


def dose(image: Dataset) -> Dataset:
    return item(
        Modality="RTDOSE",
        FrameOfReferenceUID=image.FrameOfReferenceUID,
        ReferencedRTPlanSequence=several(reference(image)),
    )


def surfaces(image: Dataset) -> Dataset:
    series = item(
        SeriesInstanceUID=image.SeriesInstanceUID, ReferencedInstanceSequence=several(reference(image))
    )
    return item(
        Modality="SEG",
        FrameOfReferenceUID=image.FrameOfReferenceUID,
        ReferencedSeriesSequence=several(series),
        SurfaceSequence=several(item(SurfacePointsSequence=several(item(PointCoordinatesData=b"\0" * 12)))),
        SegmentSequence=several(item(SourceImageSequence=several(reference(image)))),
    )


def document(image: Dataset) -> Dataset:
    return item(
        Modality="M3D",
        MIMETypeOfEncapsulatedDocument="model/stl",
        EncapsulatedDocument=b"solid mesh\0\0",
        DocumentTitle=f"mesh of {image.PatientID}",
        SourceInstanceSequence=several(reference(image)),
        FrameOfReferenceUID=image.FrameOfReferenceUID,
    )


def presentation(image: Dataset) -> Dataset:
    text = item(UnformattedTextValue=f"{image.PatientID}: here")
    return item(
        Modality="PR",
        ReferencedSeriesSequence=several(
            item(SeriesInstanceUID=image.SeriesInstanceUID, ReferencedImageSequence=several(reference(image)))
        ),
        GraphicAnnotationSequence=several(item(TextObjectSequence=several(text))),
    )


def returned(image: Dataset, make: Callable[[Dataset], Dataset]) -> Dataset:
    """What a recipient makes of the image that it was given."""
    made = make(image)
    made.SOPInstanceUID, made.SeriesInstanceUID = "1.3.999.1", "1.3.999.2"
    for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate", "StudyDate"):
        setattr(made, keyword, image.get(keyword))
    made.PatientIdentityRemoved = "YES"
    return made


@pytest.mark.parametrize("make", [structure_set, plan, dose, surfaces, document, presentation])
def test_it_is_the_origins_again(make: Callable[[Dataset], Dataset]) -> None:
    image = original()
    before = original()
    origin = facts_of(image)
    outcome = deidentify(image, Profile(), KEY, "RQM")
    result = returned(image, make)
    reidentify(result, {new: old for old, new in outcome.uids.items()}, outcome.pseudonym, origin)
    for keyword in (
        "StudyInstanceUID", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
        "StudyDate", "StudyTime", "AccessionNumber", "StudyDescription", "StudyID",
    ):  # fmt: skip
        assert result.get(keyword) == before.get(keyword), keyword
    assert (result.SOPInstanceUID, result.SeriesInstanceUID) == ("1.3.999.1", "1.3.999.2")
    assert not any(uid.startswith("2.25.") for uid in uids_of(result))
    assert before.SOPInstanceUID in uids_of(result)
    assert outcome.pseudonym not in str(result)
    assert "PatientIdentityRemoved" not in result
    if make is document:
        assert result.EncapsulatedDocument == b"solid mesh\0\0"


def test_a_name_that_the_recipients_character_set_lacks_is_written_in_one_that_has_it() -> None:
    image = original(name="Łukasz^Żółć")
    origin = facts_of(image)
    outcome = deidentify(image, Profile(), KEY, "RQM")
    result = returned(image, document)
    result.SpecificCharacterSet = "ISO_IR 100"
    result.Manufacturer = "Société"
    reidentify(result, {}, outcome.pseudonym, origin)
    assert result.SpecificCharacterSet == "ISO_IR 192"
    assert (str(result.PatientName), result.Manufacturer) == ("Łukasz^Żółć", "Société")


def test_a_patient_of_whom_little_is_known_keeps_nothing_of_the_pseudonym() -> None:
    result = returned(original(), plan)
    reidentify(result, {}, "ABCDEFGH", Origin({"00100020": "7"}, {}))
    assert result.PatientID == "7"
    assert not result.PatientName and not result.PatientBirthDate and not result.StudyDate


def test_that_holds_for_what_is_encoded_too() -> None:
    encoding = encoding_of("1.2.840.10008.1.2.1")
    image = original(name="Łukasz^Żółć")
    origin = facts_of(image)
    outcome = deidentify(image, Profile(), KEY, "RQM")
    result = returned(image, presentation)
    result.SpecificCharacterSet = "ISO_IR 100"
    result.Manufacturer = "Société"
    result.OperatorsName = "Müller^Jürgen"
    again = read(write(result, encoding), encoding)
    reidentify(again, {}, outcome.pseudonym, origin)
    final = read(write(again, encoding), encoding)
    assert [str(final[keyword].value) for keyword in ("PatientName", "Manufacturer", "OperatorsName")] == [
        "Łukasz^Żółć",
        "Société",
        "Müller^Jürgen",
    ]
