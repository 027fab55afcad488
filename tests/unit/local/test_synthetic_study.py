"""The synthetic studies that tests and the demonstration send."""

import io
import re

import nhs_number.validate
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.dicom.part10 import dataset_offset
from imex.testing import dicom


@given(st.integers())
def test_nhs_numbers_are_valid_and_of_the_test_range(seed: int) -> None:
    made = dicom.nhs_number(seed)

    assert made.startswith("999")
    assert nhs_number.validate.is_valid(made)


@pytest.mark.parametrize("explicit", [True, False])
def test_another_implementation_reads_the_files(explicit: bool) -> None:
    study = dicom.synthetic_study(3, size=64, explicit=explicit)

    read = [pydicom.dcmread(io.BytesIO(instance.file())) for instance in study.instances]

    assert {each.StudyInstanceUID for each in read} == {study.study_uid}
    assert [each.InstanceNumber for each in read] == [1, 2, 3]
    assert all(each.pixel_array.shape == (64, 64) for each in read)
    assert len(study.digests) == 3


def test_the_digest_is_over_what_follows_the_meta_information() -> None:
    (instance,) = dicom.synthetic_study(1, size=16).instances
    file = instance.file()

    assert file[dataset_offset(file) :] == instance.dataset
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", instance.digest)


def test_an_override_of_none_removes_the_element() -> None:
    study = dicom.synthetic_study(1, size=16, overrides={"PatientName": None, "PatientSex": "F"})

    read = pydicom.dcmread(io.BytesIO(study.instances[0].file()))

    assert "PatientName" not in read
    assert read.PatientSex == "F"
