"""Finding the head of a data set: the same in any pieces, and any bytes are read or refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from imex.dicom.head import FragmentsCutter, HeadFinder, HeadTooLarge, HeadUnreadable
from imex.dicom.syntax import Encoding

EXPLICIT, IMPLICIT, BIG = Encoding(), Encoding(implicit=True), Encoding(big_endian=True)


def encoded(encoding: Encoding, *, undefined: bool) -> tuple[bytes, int]:
    """A data set with nested sequences, and where its pixel data begins."""
    inner, outer, dataset = Dataset(), Dataset(), Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3"
    outer.ReferencedImageSequence = Sequence([inner, Dataset()])
    outer.is_undefined_length_sequence_item = undefined
    dataset.SOPInstanceUID, dataset.PatientName = "1.2.9", "A^B"
    dataset.ReferencedSeriesSequence = Sequence([outer])
    dataset["ReferencedSeriesSequence"].is_undefined_length = undefined
    dataset.Rows = 2
    target = DicomBytesIO()
    target.is_implicit_VR, target.is_little_endian = encoding.implicit, not encoding.big_endian
    write_dataset(target, dataset)
    head = target.getvalue()
    dataset.PixelData = b"\7" * 100
    dataset["PixelData"].VR = "OW"
    target = DicomBytesIO()
    target.is_implicit_VR, target.is_little_endian = encoding.implicit, not encoding.big_endian
    write_dataset(target, dataset)
    return target.getvalue(), len(head)


@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG])
@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_the_head_ends_where_the_pixel_data_begins(encoding: Encoding, undefined: bool, step: int) -> None:
    data, end = encoded(encoding, undefined=undefined)
    finder = HeadFinder(encoding, 10_000)
    for first in range(0, len(data), step):
        if finder.feed(data[first : first + step]):
            break
    assert (finder.end, finder.pixel_length) == (end, 100)
    assert finder.pixel_value is not None and data[finder.pixel_value :] == b"\7" * 100
    short = HeadFinder(encoding, 10_000)
    assert not short.feed(data[:end])
    short.finish()
    assert (short.end, short.pixel_value) == (end, None)


@given(st.binary(max_size=400), st.sampled_from([EXPLICIT, IMPLICIT, BIG]), st.integers(1, 50))
def test_any_bytes_are_read_or_refused(data: bytes, encoding: Encoding, step: int) -> None:
    finder = HeadFinder(encoding, 300)
    try:
        for first in range(0, len(data), step):
            if finder.feed(data[first : first + step]):
                break
        finder.finish()
    except (HeadTooLarge, HeadUnreadable):
        return
    assert finder.end is not None and finder.end <= min(len(data), 300)


@given(st.lists(st.binary(max_size=60), max_size=5), st.binary(max_size=40), st.integers(1, 30))
def test_fragments_end_where_they_say(fragments: list[bytes], tail: bytes, step: int) -> None:
    even = [one + b"\0" * (len(one) % 2) for one in fragments]
    pixels = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(one)) + one for one in even)
    pixels += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    cutter = FragmentsCutter()
    data = pixels + tail
    kept = b"".join(bytes(cutter.cut(data[first : first + step])) for first in range(0, len(data), step))
    assert kept == pixels and cutter.over
