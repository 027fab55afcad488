"""The header scanner over data sets that pydicom wrote, and over those that nothing should have written."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from imex.dicom import Header, HeaderScanner, Limits

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.70"
HTJ2K = "1.2.840.10008.1.2.4.201"


def image(**changes: Any) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.SOPInstanceUID = "1.2.3.4"
    ds.StudyInstanceUID = "1.2.3"
    ds.SeriesInstanceUID = "1.2.3.1"
    ds.Modality = "CT"
    ds.StudyDescription = "Thorax – größer"
    ds.PatientName = "Müller^Zoë"
    ds.PatientID = "9434765919"
    ds.IssuerOfPatientID = "NHS"
    ds.AccessionNumber = "A1"
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "RQM"
    ds.IssuerOfAccessionNumberSequence = Sequence([issuer])
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.SamplesPerPixel = 4, 6, 16, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelData = bytes(48)
    for name, value in changes.items():
        setattr(ds, name, value)
    return ds


def encode(ds: Dataset, syntax: str = EXPLICIT) -> bytes:
    buffer = io.BytesIO()
    if syntax == BIG:
        pydicom.dcmwrite(buffer, ds, implicit_vr=False, little_endian=False, force_encoding=True)
    else:
        pydicom.dcmwrite(buffer, ds, implicit_vr=syntax == IMPLICIT, little_endian=True, force_encoding=True)
    data = buffer.getvalue()
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-15)
        data = deflater.compress(data) + deflater.flush()
    return data


def scan(data: bytes, syntax: str = EXPLICIT, limits: Limits | None = None, step: int = 0) -> Header:
    scanner = HeaderScanner(syntax, limits)
    for start in range(0, len(data), step or len(data) or 1):
        scanner.feed(data[start : start + (step or len(data))])
    return scanner.finish()


@pytest.mark.parametrize("step", [0, 1, 7, 64])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_facts_are_read_whatever_the_encoding_and_the_pieces(syntax: str, step: int) -> None:
    header = scan(encode(image(), syntax), syntax, step=step)
    assert header.problem is None
    assert header.elements.study_uid == "1.2.3"
    assert header.elements.sop_instance_uid == "1.2.3.4"
    assert (header.elements.rows, header.elements.columns) == (4, 6)
    assert header.identity.patient_name == "Müller^Zoë"
    assert header.identity.study_description == "Thorax – größer"
    assert header.identity.issuer_of_patient_id == "NHS"
    assert header.identity.issuer_of_accession == "RQM"
    assert header.pixel_bytes == header.pixel_bytes_expected == 48


def test_pixel_data_may_be_padded_to_an_even_length_and_is_measured() -> None:
    odd = image(Rows=3, Columns=3, BitsAllocated=8, PixelData=bytes(10))
    assert scan(encode(odd)).pixel_bytes_expected == 10
    short = scan(encode(image(PixelData=bytes(40))))
    assert (short.pixel_bytes, short.pixel_bytes_expected) == (40, 48)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"BitsAllocated": 1, "Rows": 3, "Columns": 3, "NumberOfFrames": 3}, 4),
        ({"SamplesPerPixel": 3, "BitsAllocated": 8, "PhotometricInterpretation": "RGB"}, 72),
        ({"SamplesPerPixel": 3, "BitsAllocated": 8, "PhotometricInterpretation": "YBR_FULL_422"}, 48),
        ({"NumberOfFrames": 5}, 240),
        ({"NumberOfFrames": 0}, None),
        ({"Rows": 0}, None),
    ],
)
def test_expected_pixel_length(changes: dict[str, Any], expected: int | None) -> None:
    assert scan(encode(image(**changes))).pixel_bytes_expected == expected


def fragments(*lengths: int, end: bytes = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)) -> bytes:
    items = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, length) + bytes(length) for length in lengths)
    return struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + items + end


@pytest.mark.parametrize("syntax", [JPEG, HTJ2K])
def test_encapsulated_pixel_data_is_walked_fragment_by_fragment(syntax: str) -> None:
    ds = image()
    del ds.PixelData
    data = encode(ds) + fragments(4, 10, 20)
    for step in (0, 3):
        header = scan(data, syntax, step=step)
        assert (header.problem, header.pixel_bytes, header.pixel_bytes_expected) == (None, 30, None)
    assert "not ended" in str(scan(encode(ds) + fragments(4, 10, end=b""), syntax).problem)
    assert "native" in str(scan(data, EXPLICIT).problem)


def test_every_truncation_inside_an_element_is_a_problem() -> None:
    ds = image()
    data = encode(ds)
    boundaries = {0, len(data)}
    for tag in ds.keys():  # noqa: SIM118
        boundaries.add(len(encode(ds[: tag + 1])))
    for cut in range(1, len(data)):
        problem = scan(data[:cut]).problem
        assert (problem is None) == (cut in boundaries), cut


def nested(depth: int) -> Dataset:
    innermost = Dataset()
    innermost.Modality = "CT"
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedStudySequence = Sequence([innermost])
        innermost = outer
    return innermost


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_sequences_nested_deeper_than_64_are_a_problem(syntax: str) -> None:
    assert scan(encode(nested(64), syntax), syntax).problem is None
    assert "nested deeper than 64" in str(scan(encode(nested(65), syntax), syntax).problem)


def test_sequences_of_undefined_length_and_unknown_vr_are_walked() -> None:
    ds = image()
    ds.ReferencedStudySequence = Sequence([image(), image()])
    ds["ReferencedStudySequence"].is_undefined_length = True
    for item in ds.ReferencedStudySequence:
        item.is_undefined_length_sequence_item = True
    header = scan(encode(ds))
    assert header.problem is None
    assert header.elements.sop_instance_uid == "1.2.3.4"
    item = encode(image(), IMPLICIT)
    unknown = (
        struct.pack("<HH2sHL", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF)
        + struct.pack("<HHL", 0xFFFE, 0xE000, len(item))
        + item
        + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    )
    rest = Dataset()
    rest.PatientID = "1"
    assert scan(unknown + encode(rest)).identity.patient_id == "1"


def test_an_inflating_bomb_is_stopped() -> None:
    ds = image(PixelData=bytes(8_000_000))
    header = scan(encode(ds, DEFLATED), DEFLATED, Limits(max_inflated_bytes=1_000_000))
    assert "inflates beyond the limit" in str(header.problem)
    assert header.elements.study_uid == "1.2.3"


def test_damaged_and_unended_deflate_are_problems() -> None:
    data = encode(image(), DEFLATED)
    assert "no end" in str(scan(data[:-3], DEFLATED).problem)
    assert "damaged" in str(scan(b"\xff" * 50, DEFLATED).problem)
    assert "after the end" in str(scan(data + bytes(20), DEFLATED).problem)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"GARBAGE GARBAGE!", "value representation"),
        (struct.pack("<HH2sH", 8, 0x60, b"CS", 2) + b"CT" + bytes(16), "unknown value representation"),
        (struct.pack("<HH2sHL", 8, 0x1140, b"SQ", 0, 4) + b"ABCD", "longer|truncated|item"),
        (struct.pack("<HH2sHL", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF) + b"ABCDEFGH", "item should begin"),
        (struct.pack("<HH2sHL", 0x10, 0x4000, b"UT", 0, 0xFFFFFFFF), "undefined length"),
        (struct.pack("<HHL", 0xFFFE, 0xE00D, 0), "cannot stand here"),
        (struct.pack("<HH2sH2s", 8, 0x60, b"CS", 2, b"CT") * 2, "twice"),
    ],
)
def test_garbage_is_named(data: bytes, words: str) -> None:
    problem = str(scan(data).problem)
    assert any(word in problem for word in words.split("|")), problem


def test_a_wanted_value_beyond_the_cap_is_a_problem_and_is_not_kept() -> None:
    ds = image()
    ds.add_new(0x00100020, "LO", "x" * 60_000)
    assert scan(encode(ds)).problem is None
    header = scan(encode(ds), limits=Limits(max_value_bytes=1000))
    assert "longer than the limit" in str(header.problem)
    assert header.identity.patient_id == ""


def test_disorder_and_unknown_character_sets_are_warnings() -> None:
    first, second = Dataset(), Dataset()
    first.PatientID = "1"
    second.Modality = "CT"
    unknown = struct.pack("<HH2sH8s", 8, 5, b"CS", 8, b"NO_SUCH ")
    header = scan(encode(first) + unknown + encode(second))
    assert header.problem is None
    assert any("order" in warning for warning in header.warnings)
    assert any("character set" in warning for warning in header.warnings)


def test_problems_and_warnings_hold_no_patient_data() -> None:
    data = encode(image())
    for cut in range(len(data)):
        header = scan(data[:cut])
        said = f"{header.problem} {header.warnings}"
        assert "9434765919" not in said
        assert "ller" not in said


def test_code_extensions_in_names() -> None:
    ds = Dataset()
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    ds.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert scan(encode(ds)).identity.patient_name == "Yamada^Tarou=山田^太郎=やまだ^たろう"


SYNTAXES = st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED, JPEG, HTJ2K, "1.2.3", ""])


@given(data=st.binary(max_size=2000), syntax=SYNTAXES, step=st.integers(1, 300))
@settings(max_examples=300, deadline=None)
@example(
    data=b"\x08\x00\x51\x00SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff", syntax=EXPLICIT, step=3
)
def test_any_bytes_end_in_a_header(data: bytes, syntax: str, step: int) -> None:
    pieces, whole = scan(data, syntax, step=step), scan(data, syntax)
    assert pieces.dataset_bytes == len(data)
    if "deflated" not in str(whole.problem):
        assert pieces == whole


@given(syntax=st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED]), change=st.data())
@settings(max_examples=300, deadline=None)
def test_any_damage_to_a_data_set_ends_in_a_header(syntax: str, change: st.DataObject) -> None:
    data = bytearray(encode(image(ReferencedStudySequence=Sequence([image()])), syntax))
    for _ in range(change.draw(st.integers(1, 4))):
        data[change.draw(st.integers(0, len(data) - 1))] = change.draw(st.integers(0, 255))
    step = change.draw(st.integers(1, 200))
    assert scan(bytes(data), syntax, step=step).dataset_bytes == len(data)


@pytest.fixture
def no_copy() -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        import tracemalloc

        HeaderScanner(EXPLICIT).finish()  # tables are read once a process
        scanner = HeaderScanner(EXPLICIT)
        scanner.feed(data[:4096])
        tracemalloc.start()
        scanner.feed(memoryview(data)[4096:])
        scanner.finish()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 100_000

    return check


def test_pixel_bytes_are_not_copied(no_copy: Callable[[bytes], None]) -> None:
    no_copy(encode(image(Rows=2000, Columns=2000, PixelData=bytes(8_000_000))))
