"""Synthetic studies: realistic headers and pixels, and no patient that ever lived.

NHS numbers are from the range that begins with 999, which is never issued.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from imex.dicom.part10 import EncodedInstance

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


SyntheticInstance = EncodedInstance


@dataclass(frozen=True)
class SyntheticStudy:
    """One study with all of its instances, in the order of their numbers."""

    study_uid: str
    accession: str
    patient_id: str
    instances: Sequence[SyntheticInstance]

    def write(self, directory: Path) -> list[Path]:
        """Write every instance as a file; gives back their paths in order."""
        directory.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, instance in enumerate(self.instances, start=1):
            path = directory / f"{number:04}.dcm"
            path.write_bytes(instance.file())
            paths.append(path)
        return paths

    @property
    def digests(self) -> Mapping[str, str]:
        """SOP Instance UID to digest."""
        return {instance.sop_instance_uid: instance.digest for instance in self.instances}


def nhs_number(seed: int | None = None) -> str:
    """A well-formed NHS number (modulus 11) of the test range."""
    chooser = random.Random(seed)  # noqa: S311  not for secrets
    while True:
        stem = f"999{chooser.randrange(10**6):06}"
        check = (
            11 - sum(int(digit) * weight for digit, weight in zip(stem, range(10, 1, -1), strict=True)) % 11
        )
        if check != 10:
            return stem + str(check % 11)


def new_uid() -> str:
    """A UID nobody has used (PS3.5 annex B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def synthetic_study(
    slices: int = 120,
    *,
    modality: str = "CT",
    size: int = 512,
    patient_id: str | None = None,
    issuer: str = "NHS",
    patient_name: str = "TESTPATIENT^AVERY",
    birth_date: str = "19700101",
    sex: str = "O",
    description: str = "CT THORAX W CONTRAST",
    study_uid: str | None = None,
    explicit: bool = True,
    overrides: Mapping[str, object] | None = None,
) -> SyntheticStudy:
    """A study of one series with `slices` images of `size` × `size` pixels of 16 bits.

    `overrides` sets or, with None, removes elements of every instance by keyword.
    """
    study = study_uid or new_uid()
    patient = patient_id if patient_id is not None else nhs_number()
    accession = f"A{uuid.uuid4().int % 10**10:010}"
    series, frame = new_uid(), new_uid()
    body = _phantom(size)
    instances = []
    for number in range(1, slices + 1):
        dataset = _header(modality, size, number)
        dataset.PatientName, dataset.PatientID, dataset.IssuerOfPatientID = patient_name, patient, issuer
        dataset.PatientBirthDate, dataset.PatientSex = birth_date, sex
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.FrameOfReferenceUID, dataset.AccessionNumber = frame, accession
        dataset.StudyDescription, dataset.SOPInstanceUID = description, new_uid()
        # A block of noise moved along: every slice differs, and none costs a fresh field of random numbers.
        dataset.PixelData = np.roll(body, number * 7, axis=0).tobytes()
        dataset["PixelData"].VR = "OW"
        for keyword, value in (overrides or {}).items():
            _override(dataset, keyword, value)
        instances.append(_encoded(dataset, explicit=explicit))
    return SyntheticStudy(study, accession, patient, instances)


def _override(dataset: Dataset, keyword: str, value: object) -> None:
    if value is None:
        if keyword in dataset:
            delattr(dataset, keyword)
    else:
        setattr(dataset, keyword, value)


def _encoded(dataset: Dataset, *, explicit: bool) -> SyntheticInstance:
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, not explicit
    write_dataset(out, dataset)
    syntax = ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
    return SyntheticInstance(
        sop_class_uid=str(dataset.get("SOPClassUID", "")),
        sop_instance_uid=str(dataset.get("SOPInstanceUID", "")),
        transfer_syntax=str(syntax),
        dataset=out.getvalue(),
    )


def _header(modality: str, size: int, number: int) -> Dataset:
    """The elements of a CT image (PS3.3 A.3) that real scanners fill."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID = CT_IMAGE_STORAGE
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20260401"
    dataset.StudyTime = dataset.SeriesTime = "101500"
    dataset.AcquisitionTime = dataset.ContentTime = f"1016{number % 60:02}.{number:06}"
    dataset.Modality = modality
    dataset.Manufacturer = "Imex Synthetics"
    dataset.InstitutionName = "Hospital A"
    dataset.ReferringPhysicianName = "TESTREFERRER^SAM"
    dataset.StationName = "CT1"
    dataset.SeriesDescription = "Axial 1.0"
    dataset.ManufacturerModelName = "Phantom 120"
    dataset.BodyPartExamined = "CHEST"
    dataset.ScanOptions = "HELICAL MODE"
    dataset.SliceThickness = "1.0"
    dataset.KVP = "120"
    dataset.DeviceSerialNumber = "000001"
    dataset.ProtocolName = "Thorax routine"
    dataset.ReconstructionDiameter = "360"
    dataset.ExposureTime = "500"
    dataset.XRayTubeCurrent = "210"
    dataset.ConvolutionKernel = "B31f"
    dataset.PatientPosition = "HFS"
    dataset.StudyID = "1"
    dataset.SeriesNumber = "2"
    dataset.AcquisitionNumber = "1"
    dataset.InstanceNumber = str(number)
    dataset.ImagePositionPatient = ["-180", "-180", str(-300 + number)]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.SliceLocation = str(-300 + number)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = size
    dataset.PixelSpacing = ["0.703125", "0.703125"]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = "1064", "400"
    dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "1"
    dataset.RescaleType = "HU"
    return dataset


def _phantom(size: int) -> npt.NDArray[np.uint16]:
    """A body in air: an ellipse of soft tissue, two lungs and a spine, with the noise of a scanner."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    image = np.full((size, size), 24.0)
    image[(x / 0.85) ** 2 + (y / 0.6) ** 2 < 1] = 1064
    for side in (-0.4, 0.4):
        image[((x - side) / 0.28) ** 2 + ((y + 0.05) / 0.42) ** 2 < 1] = 174
    image[(x / 0.1) ** 2 + ((y - 0.4) / 0.12) ** 2 < 1] = 1724
    noise = np.random.default_rng(7).normal(0.0, 18.0, (size, size))
    return np.clip(image + noise, 0, 4095).astype("<u2")
