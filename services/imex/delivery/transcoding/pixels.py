"""Pixel data into another transfer syntax, with the proof that the pixels are the same.

Codecs are a large surface of attack: this runs in the process of `imex.delivery.transcoding.child` alone.
Every other element keeps its bytes; of the pixel data's description only what the codec changes is written
anew (Photometric Interpretation, Planar Configuration).
"""

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any, Final

import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filereader import data_element_generator, read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID

from imex.delivery.transcoding.syntaxes import EXPLICIT, JPEG_2000_LOSSLESS, LOSSLESS, LOSSY, RLE

_PHOTOMETRIC: Final = 0x00280004
_PLANAR: Final = 0x00280006
_PIXELS: Final = 0x7FE00010
_NATIVE: Final = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL"})
_explicit_long = struct.Struct("<HH2sHI").pack
_explicit_short = struct.Struct("<HH2sH").pack
_UNDEFINED: Final = 0xFFFFFFFF


class Unfit(Exception):
    """It is not transcoded; the words go on from "…, and "."""


def transcode(data: bytes, stored: str, wanted: str, most_bytes: int) -> bytes:
    """The data set in the transfer syntax `wanted`; both Explicit VR where they are not compressed.

    Raises:
        Unfit: there is no way without loss, the pixels would not be the same, or it is too large.
    """
    dataset = _read(data)
    _check(dataset, stored, most_bytes)
    if stored == EXPLICIT:
        return _compressed(data, dataset, wanted)
    _check_ends(dataset, stored)
    pixels, described = _decoded(dataset, stored)
    changed = {}
    photometric = described["photometric_interpretation"]
    if photometric == "YBR_FULL_422":  # which a decoder has spread
        photometric = "YBR_FULL"
    if photometric not in _NATIVE:
        raise Unfit(f"its pixels would be {photometric}, which is not for uncompressed images")
    if photometric != dataset.PhotometricInterpretation:
        changed[_PHOTOMETRIC] = _text(_PHOTOMETRIC, photometric)
    if dataset.SamplesPerPixel > 1:
        changed[_PLANAR] = _short(_PLANAR, int(described["planar_configuration"]))
    padded = pixels + bytes(len(pixels) % 2)
    vr = b"OB" if dataset.BitsAllocated <= 8 else b"OW"
    changed[_PIXELS] = _explicit_long(0x7FE0, 0x0010, vr, 0, len(padded)) + padded
    made = _spliced(data, changed)
    again, _ = _decoded(_read(made), EXPLICIT)
    if again != pixels:
        raise Unfit("its pixels were not the same afterwards")
    return made


def _compressed(data: bytes, dataset: Dataset, wanted: str) -> bytes:
    pixels, _ = _decoded(dataset, EXPLICIT)
    encoder = get_encoder(UID(wanted))
    try:
        frames = list(encoder.iter_encode(dataset, **_HOW.get(wanted, {})))
    except Exception as error:
        raise Unfit(f"it cannot be compressed: {type(error).__name__}") from error
    value = encapsulate(frames, has_bot=len(frames) == 1)
    pixel = _explicit_long(0x7FE0, 0x0010, b"OB", 0, _UNDEFINED) + value + _SEQUENCE_END
    changed = {_PIXELS: pixel}
    if dataset.SamplesPerPixel > 1:
        changed[_PLANAR] = _short(_PLANAR, 0 if wanted == JPEG_2000_LOSSLESS else 1)
    made = _spliced(data, changed)
    again = _read(made)
    if dataset.SamplesPerPixel > 1:  # compared pixel by pixel, however they lie
        one = get_decoder(UID(EXPLICIT)).as_array(dataset, raw=True)[0]
        other = get_decoder(UID(wanted)).as_array(again, raw=True)[0]
        same = np.array_equal(one, other)
    else:
        same = _decoded(again, wanted)[0] == pixels
    if not same:
        raise Unfit("its pixels were not the same afterwards")
    return made


_HOW: Final[dict[str, dict[str, Any]]] = {
    JPEG_2000_LOSSLESS: {"encoding_plugin": "pylibjpeg", "use_mct": False},
    RLE: {"encoding_plugin": "pydicom"},
}
"""With what, and how: GDCM's encoder aborts on some images. Without JPEG 2000's colour transform the
Photometric Interpretation stays."""
_SEQUENCE_END: Final = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _check(dataset: Dataset, stored: str, most_bytes: int) -> None:
    for needed in ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation"):
        if not dataset.get(needed):
            raise Unfit(f"it says nothing of its {needed}")
    if _PIXELS not in dataset:
        raise Unfit("it has no pixel data")
    frames = int(dataset.get("NumberOfFrames") or 1)
    size = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * frames * (dataset.BitsAllocated // 8)
    if dataset.BitsAllocated % 8:
        raise Unfit("its pixels are smaller than a byte")
    if size > most_bytes:
        raise Unfit(f"uncompressed it has more than the {most_bytes >> 20} MiB that are transcoded")
    if stored in LOSSY and str(dataset.get("LossyImageCompression", "")) != "01":
        raise Unfit("it is compressed with loss and does not say so (0028,2110)")


def _check_ends(dataset: Dataset, stored: str) -> None:
    """Every codestream has its beginning and its end: some decoders make do without the latter."""
    if stored == RLE:
        return
    frames = int(dataset.get("NumberOfFrames") or 1)
    number = 0
    try:
        for frame in generate_frames(dataset.PixelData, number_of_frames=frames):
            number += 1
            begins = frame[:2] in {_JPEG, _JPEG_2000}
            if not begins or frame.rstrip(b"\0")[-2:] != _END:
                raise Unfit(f"frame {number} of its pixel data is cut off")
    except Unfit:
        raise
    except Exception as error:
        raise Unfit(f"its pixel data cannot be read: {type(error).__name__}") from error
    if number != frames:
        raise Unfit(f"it says that it has {frames} frames and has {number}")


_JPEG: Final = b"\xff\xd8"
_JPEG_2000: Final = b"\xff\x4f"
_END: Final = b"\xff\xd9"


def _decoded(dataset: Dataset, syntax: str) -> tuple[bytes, dict[str, Any]]:
    """The pixels as they lie in an uncompressed image, found by every decoder there is."""
    decoder = get_decoder(UID(syntax))
    plugins = decoder.available_plugins if decoder.UID.is_encapsulated else ("",)
    if not plugins:
        raise Unfit("there is no decoder for it")
    found: tuple[bytes, dict[str, Any]] | None = None
    for plugin in plugins if syntax in LOSSLESS else plugins[:1]:
        try:
            buffer, described = decoder.as_buffer(dataset, raw=True, decoding_plugin=plugin)
        except Exception as error:
            raise Unfit(f"its pixels cannot be decoded: {type(error).__name__}") from error
        pixels = bytes(buffer)
        if described["bits_allocated"] != dataset.BitsAllocated:
            raise Unfit("its pixels are not as wide as it says")
        if found is None:
            found = pixels, dict(described)
        elif found[0] != pixels:
            raise Unfit("two decoders find different pixels in it")
    assert found is not None
    return found


def _read(data: bytes) -> Dataset:
    try:
        return read_dataset(BytesIO(data), is_implicit_VR=False, is_little_endian=True)
    except Exception as error:
        raise Unfit(f"it cannot be read: {type(error).__name__}") from error


def _spliced(data: bytes, changed: dict[int, bytes]) -> bytes:
    """The data set with some of its elements replaced, in their order; all others byte for byte."""
    parts = []
    waiting = dict(sorted(changed.items()))
    for tag, start, end in _spans(data):
        while waiting and (first := next(iter(waiting))) < tag:
            parts.append(waiting.pop(first))
        parts.append(waiting.pop(tag) if tag in waiting else data[start:end])
    return b"".join([*parts, *waiting.values()])


def _spans(data: bytes) -> Iterator[tuple[int, int, int]]:
    file = BytesIO(data)
    start = 0
    for element in data_element_generator(file, is_implicit_VR=False, is_little_endian=True):
        yield int(element.tag), start, file.tell()
        start = file.tell()


def _text(tag: int, value: str) -> bytes:
    encoded = value.encode("ascii")
    encoded += b" " * (len(encoded) % 2)
    return _explicit_short(tag >> 16, tag & 0xFFFF, b"CS", len(encoded)) + encoded


def _short(tag: int, value: int) -> bytes:
    return _explicit_short(tag >> 16, tag & 0xFFFF, b"US", 2) + struct.pack("<H", value)
