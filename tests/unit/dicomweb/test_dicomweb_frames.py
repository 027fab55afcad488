"""Frames cut out of pixel data."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from imex.dicomweb.frames import NotInFrames, encapsulated_frames, image_type, native_frames

JPEG = "1.2.840.10008.1.2.4.70"
RLE = "1.2.840.10008.1.2.5"
END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def cut(value: bytes, syntax: str, frames: int, step: int) -> dict[int, bytes]:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(value), step):
            yield value[start : start + step]

    async def collected() -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        async for number, piece in encapsulated_frames(pieces(), syntax, frames):
            found[number] = found.get(number, b"") + piece
        return found

    return asyncio.run(collected())


inside = st.lists(st.integers(1, 0x7F), min_size=1, max_size=60).map(bytes)  # no marker is among it
frame = inside.map(lambda some: b"\xff\xd8" + some + b"\xff\xd9")


@given(
    frames=st.lists(frame, min_size=1, max_size=6),
    fragments=st.integers(1, 3),
    table=st.booleans(),
    step=st.integers(1, 50),
)
def test_frames_are_cut_as_pydicom_encapsulates_them(
    frames: Sequence[bytes], fragments: int, table: bool, step: int
) -> None:
    even = [one + b"\0" * (len(one) % 2) for one in frames]
    value = encapsulate(even, fragments_per_frame=fragments, has_bot=table) + END
    found = cut(value, JPEG, len(even), step)
    assert [found[number] for number in sorted(found)] == even


@given(frames=st.lists(st.binary(min_size=2, max_size=30), min_size=1, max_size=6), step=st.integers(1, 40))
def test_a_fragment_is_a_frame_in_rle(frames: Sequence[bytes], step: int) -> None:
    even = [one + b"\0" * (len(one) % 2) for one in frames]
    found = cut(encapsulate(even, has_bot=False) + END, RLE, len(even), step)
    assert [found[number] for number in sorted(found)] == even


@given(value=st.binary(max_size=200), step=st.integers(1, 40), frames=st.integers(1, 3))
def test_what_makes_no_sense_is_said_to(value: bytes, step: int, frames: int) -> None:
    try:
        cut(value, JPEG, frames, step)
    except NotInFrames as error:
        assert str(error).startswith("its ")


def image(**facts: object) -> Dataset:
    made = Dataset()
    usual = {"Rows": 2, "Columns": 3, "BitsAllocated": 16, "SamplesPerPixel": 1}
    for name, value in ({"PhotometricInterpretation": "MONOCHROME2"} | usual | facts).items():
        setattr(made, name, value)
    return made


def test_native_frames_lie_one_after_the_other() -> None:
    frames = native_frames(image(NumberOfFrames=4), [1, 3], 48)
    assert [(frame.start, frame.length) for frame in frames] == [(0, 12), (24, 12)]
    colour = image(SamplesPerPixel=3, BitsAllocated=8, PhotometricInterpretation="YBR_FULL_422")
    assert native_frames(colour, [1], 12)[0].length == 12
    assert native_frames(image(BitsAllocated=1, Rows=3), [1], 2)[0].length == 2


@pytest.mark.parametrize(
    ("dataset", "length", "words"),
    [
        (image(Rows=None), 12, "how large a frame is"),
        (image(), None, "how large a frame is"),
        (image(NumberOfFrames=2), 12, "shorter than its header says"),
        (image(NumberOfFrames=2, BitsAllocated=1, Rows=3), 4, "do not begin at whole bytes"),
    ],
)
def test_frames_that_cannot_be_found_are_not_guessed(
    dataset: Dataset, length: int | None, words: str
) -> None:
    with pytest.raises(NotInFrames, match=words):
        native_frames(dataset, [1], length)


def test_media_types_are_those_of_the_standard() -> None:
    assert image_type(RLE) == "image/dicom-rle"
    assert image_type(JPEG) == "image/jpeg"
    assert image_type("1.2.840.10008.1.2.4.80") == "image/jls"
    assert image_type("1.2.840.10008.1.2.4.202") == "image/jphc"
    assert image_type("1.2.840.10008.1.2.1") == image_type("1.2.3") == ""
