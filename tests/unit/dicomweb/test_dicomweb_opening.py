"""How a part begins: the file's meta information, and whose data set it is."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.dicom import file_meta
from imex.dicomweb.opening import NotDicom, Opening

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"


def element(tag: int, value: bytes, vr: bytes = b"UI", syntax: str = EXPLICIT) -> bytes:
    value += b"\0" * (len(value) % 2)
    order = ">" if syntax == BIG else "<"
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return head + struct.pack("<L", len(value)) + value
    return head + vr + struct.pack(order + "H", len(value)) + value


def dataset(sop_instance: str = "1.2.3.4", syntax: str = EXPLICIT) -> bytes:
    made = (
        element(0x00080005, b"ISO_IR 100", b"CS", syntax)
        + element(0x00080016, CT.encode(), syntax=syntax)
        + element(0x00080018, sop_instance.encode(), syntax=syntax)
        + element(0x0020000D, b"1.2.3", syntax=syntax)
    )
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return deflater.compress(made) + deflater.flush()
    return made


def opened(data: bytes, step: int = 1 << 20) -> Opening:
    opening = Opening()
    for start in range(0, len(data), step):
        if opening.feed(data[start : start + step]):
            return opening
    opening.finish()
    return opening


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_the_names_of_the_data_set_count_whatever_its_syntax(syntax: str) -> None:
    opening = opened(file_meta(CT, "9.9.9", syntax) + dataset(syntax=syntax))
    assert (opening.sop_class_uid, opening.sop_instance_uid) == (CT, "1.2.3.4")
    assert opening.transfer_syntax == syntax
    assert bytes(opening.dataset) == dataset(syntax=syntax)


@given(st.integers(1, 400), st.sampled_from([EXPLICIT, IMPLICIT, BIG, DEFLATED]))
def test_pieces_of_any_size_say_the_same(step: int, syntax: str) -> None:
    data = file_meta(CT, "9.9.9", syntax) + dataset(syntax=syntax)
    opening = opened(data, step)
    assert (opening.sop_instance_uid, opening.transfer_syntax) == ("1.2.3.4", syntax)
    offset = len(file_meta(CT, "9.9.9", syntax))
    assert dataset(syntax=syntax).startswith(bytes(opening.dataset)) and offset


def test_where_the_data_set_names_nothing_the_meta_information_does() -> None:
    opening = opened(file_meta(CT, "9.9.9", EXPLICIT) + element(0x0020000D, b"1.2.3"))
    assert (opening.sop_class_uid, opening.sop_instance_uid) == (CT, "9.9.9")


@given(st.integers(0, len(file_meta(CT, "9.9.9", EXPLICIT)) - 1))
def test_what_ends_in_its_meta_information_is_no_file(length: int) -> None:
    with pytest.raises(NotDicom):
        opened(file_meta(CT, "9.9.9", EXPLICIT)[:length])


@given(st.binary(max_size=2000))
def test_junk_is_refused_in_words(junk: bytes) -> None:
    try:
        opened(junk)
    except NotDicom as error:
        assert str(error)


@given(st.binary(max_size=400))
def test_junk_behind_the_prefix_is_refused_or_read(junk: bytes) -> None:
    try:
        opened(b"\0" * 128 + b"DICM" + junk)
    except NotDicom as error:
        assert "meta" in str(error)


def test_a_file_without_a_transfer_syntax_is_refused() -> None:
    with pytest.raises(NotDicom, match="transfer syntax"):
        opened(b"\0" * 128 + b"DICM" + element(0x00020002, CT.encode()) + dataset())


def test_meta_information_without_end_is_refused() -> None:
    with pytest.raises(NotDicom, match="64 KiB"):
        opened(b"\0" * 128 + b"DICM" + struct.pack("<HH2sHL", 2, 0x0102, b"OB", 0, 1 << 30))
