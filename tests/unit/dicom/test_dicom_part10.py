"""File meta of our own, finding the data set in a file, and identifiers."""

import contextlib
import hashlib
import io

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.dicom import (
    dataset_digest,
    dataset_offset,
    file_meta,
    is_nhs_issuer,
    nhs_number_valid,
    transfer_syntax_of,
    valid_uid,
)

EXPLICIT = "1.2.840.10008.1.2.1"


def test_pydicom_reads_our_file_meta() -> None:
    meta = file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", EXPLICIT, "RQM_PACS")
    ds = pydicom.dcmread(io.BytesIO(meta + b"\x08\x00\x60\x00CS\x02\x00CT"))
    assert ds.Modality == "CT"
    assert ds.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert ds.file_meta.TransferSyntaxUID == EXPLICIT
    assert ds.file_meta.SourceApplicationEntityTitle == "RQM_PACS"
    assert ds.file_meta.FileMetaInformationGroupLength == len(meta) - 132 - 12


@given(st.binary(max_size=300))
def test_the_data_set_is_found_behind_our_file_meta_whatever_it_holds(dataset: bytes) -> None:
    meta = file_meta("1.2", "1.2.3", EXPLICIT)
    assert dataset_offset(meta + dataset) == len(meta)
    assert transfer_syntax_of(meta + dataset) == EXPLICIT
    assert dataset_digest(meta + dataset) == "sha256:" + hashlib.sha256(dataset).hexdigest()


def test_bytes_without_a_prefix_are_a_bare_data_set() -> None:
    assert dataset_offset(b"\x08\x00\x60\x00CS\x02\x00CT") == 0
    assert dataset_digest(b"") == "sha256:" + hashlib.sha256(b"").hexdigest()


def test_a_cut_off_file_meta_is_an_error() -> None:
    meta = file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", EXPLICIT)
    with pytest.raises(ValueError, match="cut off"):
        dataset_offset(meta[:-3])


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_prefix_give_an_offset_or_an_error(data: bytes) -> None:
    whole = bytes(128) + b"DICM" + data
    with contextlib.suppress(ValueError):
        assert 132 <= dataset_offset(whole) <= len(whole)


@pytest.mark.parametrize("uid", ["1.2.3", "2.25.329800735698586629295641978511506172918", "0.1"])
def test_well_formed_uids(uid: str) -> None:
    assert valid_uid(uid)


@pytest.mark.parametrize(
    "uid", ["", "1", "1.02", "1..2", ".1", "1.", "1.2.a", "1.2 ", "1." + "2" * 63, "1.2\n"]
)
def test_malformed_uids(uid: str) -> None:
    assert not valid_uid(uid)


@pytest.mark.parametrize(
    ("number", "valid"),
    [("9434765919", True), ("943 476 5919", True), ("943-476-5919", True), ("9434765918", False)]
    + [(text, False) for text in ("", "943476591", "94347659190", "ABCDEFGHIJ", "９４３４７６５９１９")],
)
def test_nhs_numbers(number: str, valid: bool) -> None:
    assert nhs_number_valid(number) is valid


def test_an_issuer_by_name_or_by_universal_id_makes_an_nhs_number() -> None:
    assert is_nhs_issuer("NHS")
    assert is_nhs_issuer("", "2.16.840.1.113883.2.1.4.1")
    assert is_nhs_issuer("2.16.840.1.113883.2.1.4.1")
    assert not is_nhs_issuer("RQM")
    assert not is_nhs_issuer("")
