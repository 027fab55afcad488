"""What a scan says of a header that is not as the standard has it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import imex.dicom
from imex.dicom import HeaderScanner
from imex.dicom.forms import FORMS
from imex.dicom.iods import Conformance
from imex.testing.dicom import SyntheticInstance, synthetic_study
from imex.testing.iods import rendered


def scan(instance: SyntheticInstance, step: int = 65536) -> Conformance:
    scanner = HeaderScanner(instance.transfer_syntax)
    for start in range(0, len(instance.dataset), step):
        scanner.feed(instance.dataset[start : start + step])
    return scanner.finish().conformance


def image(*, explicit: bool = True, **overrides: object) -> SyntheticInstance:
    return synthetic_study(1, size=8, explicit=explicit, overrides=overrides).instances[0]


def test_the_committed_table_is_the_one_that_the_standard_makes() -> None:
    committed = Path(imex.dicom.__file__).with_name("iods.json").read_text(encoding="utf-8")
    assert committed == rendered()


def test_attributes_of_type_1_that_lack_or_are_empty_are_named() -> None:
    assert scan(image(ImageType="", RescaleSlope=None)).missing == ("ImageType", "RescaleSlope")


def test_attributes_of_type_2_may_be_empty_and_not_absent() -> None:
    assert "KVP" not in scan(image(KVP="")).absent
    assert "KVP" in scan(image(KVP=None)).absent


def test_a_sop_class_that_is_not_known_needs_nothing() -> None:
    assert scan(image(SOPClassUID="1.2.3", RescaleSlope=None)) == Conformance()


@pytest.mark.parametrize("explicit", [True, False])
def test_forms_are_checked_in_either_encoding(*, explicit: bool) -> None:
    sound = image(explicit=explicit)
    wrong = SyntheticInstance(
        sound.sop_class_uid,
        sound.sop_instance_uid,
        sound.transfer_syntax,
        sound.dataset.replace(b"19700101", b"19701301"),
    )
    assert scan(sound).malformed == ()
    assert scan(wrong).malformed == ("PatientBirthDate",)


@given(step=st.integers(1, 400), explicit=st.booleans())
def test_how_the_bytes_are_cut_makes_no_difference(*, step: int, explicit: bool) -> None:
    instance = image(explicit=explicit, PatientBirthDate="", ImageType="", BodyPartExamined="chest", KVP=None)
    assert scan(instance, step) == scan(instance)


@pytest.mark.parametrize(
    ("vr", "good", "bad"),
    [
        (b"DA", [b"20260401", b"20240229", b"20260401\\20260402"], [b"20261301", b"2026-04-01", b"202604"]),
        (b"TM", [b"10", b"1015", b"101500.123456 ", b"235960"], [b"24", b"10:15", b"1015001"]),
        (b"DT", [b"2026", b"20260401101500.1+0100"], [b"today", b"2026-04"]),
        (b"UI", [b"1.2.3\0", b"1.2.34", b"1.2\\1.3\0"], [b"1.2.3 ", b"1.2.x", b"1." + b"2" * 63]),
        (b"IS", [b"12", b"-3 ", b" 7\\8 "], [b"1.5 ", b"x"]),
        (b"DS", [b"1.5 ", b"-1e3", b"1\\2\\3 "], [b"one ", b"1.23456789012345678 "]),
        (b"CS", [b"CHEST ", b"ORIGINAL\\PRIMARY "], [b"chest ", b"A" * 18]),
        (b"AS", [b"042Y"], [b"42Y ", b"042y"]),
        (b"LO", [b"x" * 64, "ä".encode() * 64, b"a\\" + b"b" * 64], [b"x" * 66]),
        (b"SH", [b"x" * 16], [b"x" * 18]),
    ],
)
def test_forms_of_values(vr: bytes, good: list[bytes], bad: list[bytes]) -> None:
    for value in good:
        assert FORMS[vr](memoryview(value), 0, len(value)), value
    for value in bad:
        assert not FORMS[vr](memoryview(value), 0, len(value)), value


@given(vr=st.sampled_from(sorted(FORMS, key=repr)), value=st.binary(max_size=1024))
def test_any_bytes_are_matched_or_not(vr: object, value: bytes) -> None:
    FORMS[vr](memoryview(value), 0, len(value))
