"""A small study of nobody, for tests of a connection: whoever meets it sees at once that it is no patient."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from imex.dicom.part10 import EncodedInstance

PATIENT_NAME: Final = "ZZZTEST^IMEX CONNECTION TEST"
PATIENT_ID: Final = "IMEX-CONNECTION-TEST"
ISSUER: Final = "IMEX-TEST"
DESCRIPTION: Final = "IMEX CONNECTION TEST - NOT A PATIENT"
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT: Final = "1.2.840.10008.1.2.1"


@dataclass(frozen=True, slots=True)
class Specimen:
    """A study with its images."""

    study_uid: str
    instances: Sequence[EncodedInstance]


def specimen(
    images: int = 2,
    *,
    transfer_syntax: str = EXPLICIT,
    patient_id: str = PATIENT_ID,
    patient_name: str = PATIENT_NAME,
    study_uid: str = "",
    side: int = 256,
) -> Specimen:
    """A new study of secondary captures (PS3.3 A.8.1), with UIDs that nobody has used.

    `transfer_syntax` is Explicit or Implicit VR Little Endian; an image has `side` × `side` bytes of pixels.
    """
    study, series = study_uid or _uid(), _uid()
    made = [
        _image(number, study, series, transfer_syntax, patient_id, patient_name, side)
        for number in range(1, images + 1)
    ]
    return Specimen(study, tuple(made))


def _image(  # noqa: PLR0917  what one image is made of
    number: int, study: str, series: str, transfer_syntax: str, patient_id: str, patient_name: str, side: int
) -> EncodedInstance:
    from pydicom import Dataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    now = datetime.now(UTC)
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SOPClassUID, image.SOPInstanceUID = SECONDARY_CAPTURE, _uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = study, series
    image.StudyDate = image.SeriesDate = image.ContentDate = f"{now:%Y%m%d}"
    image.StudyTime = image.SeriesTime = image.ContentTime = f"{now:%H%M%S}"
    image.PatientName, image.PatientID, image.IssuerOfPatientID = patient_name, patient_id, ISSUER
    image.PatientBirthDate, image.PatientSex = "19000101", "O"
    image.AccessionNumber, image.StudyID, image.ReferringPhysicianName = "", "1", ""
    image.StudyDescription = image.SeriesDescription = DESCRIPTION
    image.Modality, image.ConversionType, image.Manufacturer = "OT", "SYN", "Imex"
    image.SeriesNumber, image.InstanceNumber, image.PatientOrientation = "1", str(number), ""
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows = image.Columns = side
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    row = bytes((number * 16 + column) % 256 for column in range(side))
    image.add_new(0x7FE00010, "OW", row * side)
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, transfer_syntax != EXPLICIT
    write_dataset(out, image)
    return EncodedInstance(SECONDARY_CAPTURE, str(image.SOPInstanceUID), transfer_syntax, out.getvalue())


def _uid() -> str:
    return f"2.25.{uuid.uuid4().int}"
