"""Pixel data in another transfer syntax: the same pixels, the other elements as they were, within limits."""

from collections.abc import AsyncIterator
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from imex.delivery.targets.proposals import candidates, refusal
from imex.delivery.transcoding.pixels import Unfit, transcode
from imex.delivery.transcoding.syntaxes import EXPLICIT, IMPLICIT, JPEG_2000_LOSSLESS, RLE
from imex.delivery.transcoding.transcoder import CannotTranscode, Limits, Transcoder
from imex.directory.model import Accepts

MOST = 64 << 20
CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"


def image(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint16 | np.uint8]]") -> Dataset:
    """An image with a sequence, a private element and a name in another character set before its pixels."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.SOPClassUID = CT
    made.SOPInstanceUID = "1.2.3"
    made.PatientName = "M\xfcller^J\xfcrgen"
    item = Dataset()
    item.CodeValue = "1"
    made.ProcedureCodeSequence = [item]
    made.add_new(0x00090010, "LO", "ACME")
    made.add_new(0x00091001, "OB", b"\x01\x02")
    colour = pixels.ndim == 3
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    made.Rows, made.Columns = pixels.shape[:2]
    bits = pixels.dtype.itemsize * 8
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit = bits - 1
    made.PixelRepresentation = 0
    raw = pixels.tobytes()
    made.add_new(0x7FE00010, "OW" if bits > 8 else "OB", raw + bytes(len(raw) % 2))
    made.add_new(0xFFFCFFFC, "OB", bytes(6))
    return made


def encoded(dataset: Dataset, *, implicit: bool = False) -> bytes:
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = implicit, True
    dataset._pixel_rep = 0
    write_dataset(out, dataset)
    return out.getvalue()


def read(data: bytes) -> Dataset:
    return read_dataset(BytesIO(data), is_implicit_VR=False, is_little_endian=True)


def slices(dtype: type) -> st.SearchStrategy["np.ndarray[tuple[int, ...], np.dtype[np.uint16]]"]:
    """OpenJPEG takes no image smaller than 32 pixels."""
    shape = st.tuples(st.integers(32, 50), st.integers(32, 50))
    return arrays.arrays(dtype, shape)


@settings(deadline=None, max_examples=25)
@given(st.one_of(slices(np.uint16), slices(np.uint8)), st.sampled_from([JPEG_2000_LOSSLESS, RLE]))
def test_there_and_back_the_data_set_is_byte_for_byte_what_it_was(
    pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]", syntax: str
) -> None:
    plain = encoded(image(pixels))
    there = transcode(plain, EXPLICIT, syntax, MOST)
    assert there != plain
    assert transcode(there, syntax, EXPLICIT, MOST) == plain


def test_colour_keeps_its_pixels(  # the planes may lie otherwise
) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (39, 47, 3)).astype(np.uint8)
    plain = encoded(image(pixels))
    for syntax in (JPEG_2000_LOSSLESS, RLE):
        back = read(transcode(transcode(plain, EXPLICIT, syntax, MOST), syntax, EXPLICIT, MOST))
        assert back.PhotometricInterpretation == "RGB"
        found = get_decoder(UID(EXPLICIT)).as_array(back, raw=True)[0]
        assert np.array_equal(found, pixels)


def test_what_says_too_little_or_is_too_large_is_refused() -> None:
    whole = image(np.zeros((8, 8), np.uint16))
    for change, words in (
        ({"Rows": None}, "Rows"),
        ({"BitsAllocated": 1}, "smaller than a byte"),
        ({"NumberOfFrames": "100000"}, "MiB"),
    ):
        other = image(np.zeros((8, 8), np.uint16))
        for name, value in change.items():
            setattr(other, name, value)
        with pytest.raises(Unfit, match=words):
            transcode(encoded(other), EXPLICIT, RLE, 1 << 20)
    there = transcode(encoded(whole), EXPLICIT, RLE, MOST)
    with pytest.raises(Unfit, match="does not say so"):
        transcode(there, "1.2.840.10008.1.2.4.50", EXPLICIT, MOST)


@pytest.fixture
async def transcoder() -> AsyncIterator[Transcoder]:
    made = Transcoder(Limits(seconds=20.0))
    yield made
    await made.close()


async def test_a_child_does_it_and_survives_what_cannot_be_done(transcoder: Transcoder) -> None:
    plain = encoded(image(np.arange(4096, dtype=np.uint16).reshape(64, 64)))
    there = await transcoder.transcode(plain, EXPLICIT, JPEG_2000_LOSSLESS)
    damaged = bytearray(there)
    damaged[-40:-20] = bytes(20)
    with pytest.raises(CannotTranscode):
        await transcoder.transcode(bytes(damaged), JPEG_2000_LOSSLESS, EXPLICIT)
    assert bytes(await transcoder.transcode(there, JPEG_2000_LOSSLESS, EXPLICIT)) == plain


async def test_one_that_takes_too_long_or_too_much_is_ended() -> None:
    slow = Transcoder(Limits(seconds=0.01))
    plain = encoded(image(np.zeros((8, 8), np.uint16)))
    with pytest.raises(CannotTranscode, match="longer than"):
        await slow.transcode(plain, EXPLICIT, RLE)
    await slow.close()
    small = Transcoder(Limits(memory=64 << 20, seconds=20.0))
    with pytest.raises(CannotTranscode):
        await small.transcode(plain, EXPLICIT, RLE)
    await small.close()


def test_a_stored_syntax_that_is_not_taken_is_transcoded_only_where_that_is_allowed() -> None:
    takes = {"transfer_syntaxes": (EXPLICIT, IMPLICIT)}
    context = (CT, JPEG_2000_LOSSLESS)
    no, yes = Accepts.model_validate(takes), Accepts.model_validate({**takes, "transcode": "lossless"})
    assert candidates(no, {}, context) == ()
    assert candidates(yes, {}, context) == (EXPLICIT, IMPLICIT)
    assert candidates(yes, {}, (CT, EXPLICIT)) == (EXPLICIT, IMPLICIT), "as stored first"
    words = refusal(no, {}, context)
    for part in ("JPEG 2000", "Explicit VR Little Endian", "Implicit VR", "transcoding is not allowed"):
        assert part in words
