"""What other people's encoders made, decoded as other people's decoders do: DCMTK at both ends."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, FileMetaDataset, dcmread, dcmwrite
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID

from imex.delivery.transcoding.pixels import Unfit, transcode
from imex.delivery.transcoding.syntaxes import EXPLICIT, LOSSLESS
from imex.dicom import dataset_offset
from imex.local.programs import dcmtk

MOST = 64 << 20
ENCODERS = {
    "JPEG Lossless": ("dcmcjpeg", "+e1", "dcmdjpeg"),
    "JPEG Lossless, process 14": ("dcmcjpeg", "+el", "dcmdjpeg"),
    "JPEG-LS": ("dcmcjpls", "+el", "dcmdjpls"),
    "RLE": ("dcmcrle", "", "dcmdrle"),
}


def picture(kind: str) -> Dataset:
    """CT-like pixels with a sign, several frames, or colour."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = UID("2.25.77")
    made.StudyInstanceUID, made.SeriesInstanceUID = "2.25.78", "2.25.79"
    chance = np.random.default_rng(7)
    made.Rows, made.Columns, made.SamplesPerPixel = 48, 40, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.PixelRepresentation = 0
    match kind:
        case "signed":
            made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
            pixels = chance.integers(-1000, 3000, (48, 40)).astype("<i2")
        case "frames":
            made.BitsAllocated, made.BitsStored, made.HighBit, made.NumberOfFrames = 16, 12, 11, "3"
            pixels = chance.integers(0, 4095, (3, 48, 40)).astype("<u2")
        case _:
            made.BitsAllocated = made.BitsStored = 8
            made.HighBit, made.SamplesPerPixel, made.PlanarConfiguration = 7, 3, 0
            made.PhotometricInterpretation = "RGB"
            pixels = chance.integers(0, 255, (48, 40, 3)).astype("u1")
    made.add_new(0x7FE00010, "OW" if made.BitsAllocated == 16 else "OB", pixels.tobytes())
    return made


def run(program: str, *arguments: str) -> None:
    subprocess.run([str(dcmtk(program)), *(one for one in arguments if one)], check=True, capture_output=True)


@pytest.mark.parametrize("kind", ["signed", "frames", "colour"])
@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_pixels_are_what_dcmtk_finds(tmp_path: Path, name: str, kind: str) -> None:
    encoder, option, decoder = ENCODERS[name]
    plain, packed, unpacked = (tmp_path / one for one in ("plain", "packed", "unpacked"))
    dcmwrite(plain, picture(kind), enforce_file_format=True)
    run(encoder, option, str(plain), str(packed))
    run(decoder, str(packed), str(unpacked))
    whole = packed.read_bytes()
    stored = str(dcmread(packed, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    assert stored in LOSSLESS
    made = transcode(whole[dataset_offset(whole) :], stored, EXPLICIT, MOST)
    again = tmp_path / "again"
    again.write_bytes(unpacked.read_bytes()[: dataset_offset(unpacked.read_bytes())] + made)
    ours, theirs = dcmread(again), dcmread(unpacked)
    assert np.array_equal(ours.pixel_array, theirs.pixel_array)
    assert np.array_equal(ours.pixel_array, dcmread(plain).pixel_array)
    for element in ("Rows", "SOPInstanceUID", "BitsStored", "PixelRepresentation"):
        assert ours.get(element) == theirs.get(element)


def test_what_was_compressed_with_loss_is_decompressed_and_stays_marked(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    dcmwrite(plain, picture("colour"), enforce_file_format=True)
    run("dcmcjpeg", "+eb", "+un", str(plain), str(packed))
    whole = packed.read_bytes()
    stored = str(dcmread(packed, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    made = transcode(whole[dataset_offset(whole) :], stored, EXPLICIT, MOST)
    again = tmp_path / "again"
    again.write_bytes(plain.read_bytes()[: dataset_offset(plain.read_bytes())] + made)
    found = dcmread(again)
    assert found.LossyImageCompression == "01"
    assert found.SOPInstanceUID == dcmread(packed, stop_before_pixels=True).SOPInstanceUID
    assert found.PhotometricInterpretation in {"RGB", "YBR_FULL"}
    distance = np.abs(found.pixel_array.astype(int) - dcmread(packed).pixel_array.astype(int))
    assert distance.max() <= 4, "decoders of a lossy codec may differ a little"


def test_a_codestream_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    dcmwrite(plain, picture("signed"), enforce_file_format=True)
    run("dcmcjpeg", "+e1", str(plain), str(packed))
    damaged = dcmread(packed)
    [frame] = generate_frames(damaged.PixelData, number_of_frames=1)
    damaged.PixelData = encapsulate([frame[: len(frame) // 2]])
    dcmwrite(packed, damaged)
    whole = packed.read_bytes()
    with pytest.raises(Unfit, match="cut off"):
        transcode(whole[dataset_offset(whole) :], "1.2.840.10008.1.2.4.70", EXPLICIT, MOST)
