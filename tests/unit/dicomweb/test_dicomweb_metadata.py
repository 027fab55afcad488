"""Headers in the DICOM JSON model: bounded, without bulk data, however the file comes in pieces."""

import json
import math
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from imex.dicom import file_meta
from imex.dicomweb.elements import element
from imex.dicomweb.metadata import HeadReader, as_json

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"


def encoded(syntax: str, **more: Any) -> bytes:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPInstanceUID = "1.2.3.4"
    ds.PatientName = "Müller^Änne"
    ds.Rows = 7
    ds.ReferencedImageSequence = [Dataset()]
    ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.5"
    for name, value in more.items():
        setattr(ds, name, value)
    ds.PixelData = bytes(5000)
    ds["PixelData"].VR = "OW"
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax != BIG, syntax == IMPLICIT
    write_dataset(buffer, ds)
    data = buffer.getvalue()
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return deflater.compress(data) + deflater.flush()
    return bytes(data)


def read(data: bytes, syntax: str, step: int = 1 << 20, most: int = 1 << 20) -> HeadReader:
    file = file_meta(CT, "1.2.3.4", syntax) + data
    reader = HeadReader(syntax, most)
    for start in range(0, len(file), step):
        if reader.feed(file[start : start + step]):
            return reader
    reader.finish()
    return reader


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_a_header_is_read_in_every_syntax_without_pixels(syntax: str) -> None:
    reader = read(encoded(syntax), syntax)
    told = as_json(reader.read())
    assert reader.complete and "7FE00010" not in told
    assert told["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Müller^Änne"}]}
    assert told["00280010"] == {"vr": "US", "Value": [7]}
    assert told["00081140"]["Value"][0]["00081155"]["Value"] == ["1.2.3.5"]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 7000), st.sampled_from([EXPLICIT, IMPLICIT, BIG, DEFLATED]))
def test_pieces_of_any_size_say_the_same(step: int, syntax: str) -> None:
    data = encoded(syntax)
    assert as_json(read(data, syntax, step).read()) == as_json(read(data, syntax).read())


def test_bulk_values_are_left_out_and_small_ones_stay() -> None:
    data = encoded(EXPLICIT, EncapsulatedDocument=bytes(4000), ICCProfile=bytes(100))
    told = as_json(read(data, EXPLICIT).read())
    assert "00420011" not in told and "InlineBinary" in told["00282000"]


def test_what_is_no_number_is_null() -> None:
    told = as_json(read(encoded(EXPLICIT, ExposureTimeInms=math.nan), EXPLICIT).read())
    assert told["00189328"]["Value"] == [None]
    json.dumps(told, allow_nan=False)


def test_no_more_is_held_than_may_be() -> None:
    data = encoded(EXPLICIT, EncapsulatedDocument=bytes(3_000_000))
    reader = read(data, EXPLICIT, step=65536, most=100_000)
    assert not reader.complete
    assert as_json(reader.read())["00280010"]["Value"] == [7]


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300), st.sampled_from([EXPLICIT, IMPLICIT, DEFLATED]))
def test_junk_is_told_as_far_as_it_makes_sense(junk: bytes, syntax: str) -> None:
    json.dumps(as_json(read(junk, syntax).read()), allow_nan=False)


def test_elements_have_their_form() -> None:
    assert element("LO", "") == {"vr": "LO"}
    assert element("IS", 0) == {"vr": "IS", "Value": [0]}
    assert element("PN", "A^B=C") == {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "C"}]}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, DEFLATED])
def test_only_what_is_asked_for_is_told(syntax: str) -> None:
    only = {"00100010", "00080018", "00201208", "7FE00010"}
    assert as_json(read(encoded(syntax), syntax).read(), only) == {
        "00080018": {"vr": "UI", "Value": ["1.2.3.4"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Änne"}]},
    }
