"""Rewriting between uncompressed transfer syntaxes: pydicom reads the same, all values keep their bytes."""

import zlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from imex.delivery.conversion import CannotConvert, Converter
from imex.delivery.jobs import Instance
from imex.delivery.payloads import Payload
from imex.dicom.rewriting import DEFLATED, EXPLICIT, IMPLICIT, CannotRewrite, rewritable_to, rewrite
from imex.testing.storage import MemoryStore


def encoded(dataset: Dataset, syntax: str) -> bytes:
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, syntax == IMPLICIT
    write_dataset(out, dataset)
    data: bytes = out.getvalue()
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-15)
        data = deflater.compress(data) + deflater.flush()
    return data


def decoded(data: bytes, syntax: str) -> Dataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, False
    write_dataset(out, meta)
    group = out.getvalue()
    length = b"\x02\x00\x00\x00UL\x04\x00" + len(group).to_bytes(4, "little")
    return dcmread(BytesIO(bytes(128) + b"DICM" + length + group + data))


def sample() -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PatientName = "DOE^JOHN"
    dataset.add_new(0x00091001, "OB", b"\x01\x02\x03\x04")
    dataset.add_new(0x00090010, "LO", "SOMEBODY")
    dataset.Rows, dataset.Columns, dataset.BitsAllocated = 2, 2, 16
    dataset.PixelRepresentation = 1
    dataset.add_new(0x00280106, "SS", -5)  # Smallest Image Pixel Value: US or SS
    inner, deeper = Dataset(), Dataset()
    deeper.CodeValue = "X"
    inner.PurposeOfReferenceCodeSequence = Sequence([deeper, Dataset()])
    inner.ReferencedSOPInstanceUID = "1.2.3.4"
    dataset.SourceImageSequence = Sequence([inner])
    dataset.ReferencedImageSequence = Sequence([])
    dataset.add_new(0x7FE00010, "OW", bytes(range(8)))
    return dataset


@pytest.mark.parametrize("stored", [EXPLICIT, IMPLICIT, DEFLATED])
def test_a_rewritten_data_set_reads_the_same(stored: str) -> None:
    for wanted in rewritable_to(stored):
        data = encoded(sample(), stored)
        found = decoded(rewrite(memoryview(data), stored, wanted), wanted)
        expected = decoded(data, stored)
        assert [element.tag for element in found.iterall()] == [e.tag for e in expected.iterall()]
        assert found.PixelData == expected.PixelData
        assert found[0x00280106].value == expected[0x00280106].value == -5
        assert found.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "X"
        assert found[0x00091001].value in (b"\x01\x02\x03\x04", expected[0x00091001].value)


def test_there_and_back_is_the_same_again() -> None:
    implicit = encoded(sample(), IMPLICIT)
    once = rewrite(memoryview(implicit), IMPLICIT, EXPLICIT)
    back = rewrite(memoryview(once), EXPLICIT, IMPLICIT)
    again = rewrite(memoryview(back), IMPLICIT, EXPLICIT)
    assert rewrite(memoryview(again), EXPLICIT, IMPLICIT) == back
    assert again == once


def test_bytes_that_no_character_set_explains_stay_what_they_are() -> None:
    odd = b"\x10\x00\x10\x00PN\x04\x00\xff\xfe\x80 "
    assert rewrite(memoryview(odd), EXPLICIT, IMPLICIT) == b"\x10\x00\x10\x00\x04\x00\x00\x00\xff\xfe\x80 "


def test_a_long_value_of_a_short_vr_becomes_unknown() -> None:
    data = b"\x10\x00\x10\x00" + (70_000).to_bytes(4, "little") + b"A" * 70_000
    assert rewrite(memoryview(data), IMPLICIT, EXPLICIT)[4:6] == b"UN"


@pytest.mark.parametrize("stored", [EXPLICIT, IMPLICIT])
@given(data=st.binary(max_size=300))
def test_what_cannot_be_read_is_said_and_never_hangs(stored: str, data: bytes) -> None:
    [wanted] = rewritable_to(stored)
    try:
        rewrite(memoryview(data), stored, wanted)
    except CannotRewrite:
        return


@pytest.mark.parametrize("cut", [1, 7, 19, 21])
def test_a_data_set_cut_short_is_not_rewritten(cut: int) -> None:
    data = encoded(sample(), EXPLICIT)
    with pytest.raises(CannotRewrite):
        rewrite(memoryview(data)[:-cut], EXPLICIT, IMPLICIT)


def test_what_inflates_without_end_is_refused() -> None:
    deflater = zlib.compressobj(wbits=-15)
    data = deflater.compress(bytes(1 << 20)) + deflater.flush()
    with pytest.raises(CannotRewrite, match="inflates"):
        rewrite(memoryview(data), DEFLATED, EXPLICIT, 1 << 16)


def test_compressed_pixel_data_is_not_touched() -> None:
    assert rewritable_to("1.2.840.10008.1.2.4.90") == ()
    encapsulated = b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff" + bytes(8)
    with pytest.raises(CannotRewrite):
        rewrite(memoryview(encapsulated), EXPLICIT, IMPLICIT)


async def test_what_is_too_large_is_not_rewritten() -> None:
    instance = Instance("1.2.3", "1.2", EXPLICIT, "k", 100, "sha256:", 0)
    payload = Payload(MemoryStore(), instance, memoryview(bytes(100)))
    with pytest.raises(CannotConvert, match="larger"):
        await Converter(most_bytes=99).convert(payload, IMPLICIT)
