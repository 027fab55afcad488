"""Identifiers of queries and retrievals: what is read of them, what is refused, what is answered."""

import struct
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from imex.dicom.rewriting import EXPLICIT, IMPLICIT
from imex.portal.query_retrieve.identifiers import (
    MOST_KEYS,
    MOST_UIDS,
    DoesNotMatch,
    Query,
    Retrieval,
    encode_failed,
    encode_match,
    read_query,
    read_retrieval,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # the services' own filter is pytest's here
each_syntax = pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])


def encoded(syntax: str = IMPLICIT, **values: Any) -> bytes:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, syntax == IMPLICIT
    write_dataset(out, dataset)
    return bytes(out.getvalue())


def decoded(data: bytes, syntax: str) -> Dataset:
    return read_dataset(BytesIO(data), syntax == IMPLICIT, True)


@each_syntax
def test_keys_with_values_are_matched_and_all_are_returned(syntax: str) -> None:
    data = encoded(
        syntax,
        SpecificCharacterSet="ISO_IR 192",
        QueryRetrieveLevel="STUDY",
        PatientName="MÜLLER^*",
        ModalitiesInStudy=["CT", "MR"],
        StudyInstanceUID=["1.2", "1.3"],
        StudyDate="20260101-",
        AccessionNumber="*",
        StudyID="",
    )
    query = read_query(data, syntax)
    assert query.level == "STUDY"
    assert dict(query.keys) == {
        "PatientName": "MÜLLER^*",
        "ModalitiesInStudy": "CT\\MR",
        "StudyInstanceUID": "1.2\\1.3",
        "StudyDate": "20260101-",
    }
    assert query.study_uids == ("1.2", "1.3")
    assert set(query.returned) == {"00080020", "00080050", "00080061", "00100010", "0020000D", "00200010"}
    assert not query.ignored


def test_what_is_not_matched_here_is_ignored_and_said_so() -> None:
    for key in ({"StudyTime": "10-11"}, {"PatientSex": "F"}, {"Modality": "CT"}):
        query = read_query(encoded(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2", **key), IMPLICIT)
        assert (query.ignored, dict(query.keys)) == (True, {"StudyInstanceUID": "1.2"})
    nested = Sequence([Dataset()])
    query = read_query(
        encoded(QueryRetrieveLevel="STUDY", RequestAttributesSequence=nested, RetrieveAETitle="IMEX"),
        IMPLICIT,
    )
    assert not query.ignored


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "Level"),
        ({"QueryRetrieveLevel": "PATIENT", "PatientID": "1"}, "Level"),
        ({"QueryRetrieveLevel": "SERIES"}, "Study Instance UID"),
        ({"QueryRetrieveLevel": "IMAGE", "SeriesInstanceUID": "1.2"}, "Study Instance UID"),
    ],
)
def test_a_query_of_another_model_is_none(values: dict[str, Any], words: str) -> None:
    with pytest.raises(DoesNotMatch, match=words):
        read_query(encoded(**values), IMPLICIT)


def test_a_query_has_so_many_keys_at_most() -> None:
    keys = b"".join(struct.pack("<HHI", 0x0040, 0x1000 + number, 0) for number in range(MOST_KEYS + 1))
    level = encoded(QueryRetrieveLevel="STUDY")
    assert len(read_query(level + keys[: 8 * (MOST_KEYS - 1)], IMPLICIT).returned) == MOST_KEYS - 1
    for read in (read_query, read_retrieval):
        with pytest.raises(DoesNotMatch, match="more than 256 keys"):
            read(level + keys, IMPLICIT)


def test_retrievals_name_studies_or_parts_of_one() -> None:
    study = {"StudyInstanceUID": "1.2"}
    assert read_retrieval(encoded(QueryRetrieveLevel="STUDY", **study), IMPLICIT) == Retrieval(
        "STUDY", ("1.2",)
    )
    many = encoded(QueryRetrieveLevel="STUDY", StudyInstanceUID=["1.2", "1.3", "1.2"])
    assert read_retrieval(many, IMPLICIT).study_uids == ("1.2", "1.3")
    series = encoded(QueryRetrieveLevel="SERIES", SeriesInstanceUID=["1.4", "1.5"], **study)
    assert read_retrieval(series, IMPLICIT).series_uids == ("1.4", "1.5")
    image = encoded(QueryRetrieveLevel="IMAGE", SeriesInstanceUID="1.4", SOPInstanceUID="1.6", **study)
    assert read_retrieval(image, IMPLICIT) == Retrieval("IMAGE", ("1.2",), ("1.4",), ("1.6",))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"QueryRetrieveLevel": "STUDY"}, "StudyInstanceUID is required"),
        ({"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2"}, "SeriesInstanceUID is required"),
        ({"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "1.4"}, "one Study Instance UID"),
        (
            {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "1.4", "StudyInstanceUID": ["1.2", "1.3"]},
            "one Study Instance UID",
        ),
        ({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.*"}, "no UID"),
        (
            {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": [f"1.{n}" for n in range(MOST_UIDS + 1)]},
            "more than",
        ),
    ],
)
def test_a_retrieval_of_nothing_or_of_everything_is_none(values: dict[str, Any], words: str) -> None:
    with pytest.raises(DoesNotMatch, match=words):
        read_retrieval(encoded(**values), IMPLICIT)


@given(st.binary(max_size=300), st.sampled_from([IMPLICIT, EXPLICIT]))
def test_anything_is_read_or_refused(data: bytes, syntax: str) -> None:
    for read in (read_query, read_retrieval):
        try:
            read(data, syntax)
        except DoesNotMatch:
            continue


@given(st.data())
def test_a_damaged_identifier_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(
        encoded(
            QueryRetrieveLevel="STUDY",
            StudyInstanceUID=["1.2", "1.3"],
            PatientName="A^B",
            StudyDate="20260101",
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    for read in (read_query, read_retrieval):
        try:
            read(bytes(whole), IMPLICIT)
        except DoesNotMatch:
            continue


@each_syntax
def test_a_match_has_every_key_that_was_asked_for_and_no_other(syntax: str) -> None:
    query = Query("STUDY", (), ("00100010", "00100040", "0020000D", "00321064", "00091001"), ignored=False)
    found = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Żółć^Ewa"}]},
        "00100020": {"vr": "LO", "Value": ["not asked for"]},
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
    }
    match = decoded(encode_match(query, found, "IMEX", syntax), syntax)
    match.decode()
    assert str(match.PatientName) == "Żółć^Ewa"
    assert (match.QueryRetrieveLevel, match.RetrieveAETitle) == ("STUDY", "IMEX")
    assert (match.PatientSex or "", list(match.RequestedProcedureCodeSequence)) == ("", [])
    assert "PatientID" not in match


@pytest.mark.parametrize(
    ("asked", "name", "told"),
    [
        ("", "Smith^Ann", None),
        ("ISO_IR 100", "Smith^Ann", "ISO_IR 100"),
        ("ISO 2022 IR 87", "Smith^Ann", None),
        ("ISO_IR 100", "Brönte^Zoë", "ISO_IR 100"),
        ("", "Brönte^Zoë", "ISO_IR 192"),
        ("ISO_IR 100", "Żółć^Ewa", "ISO_IR 192"),
        ("ISO_IR 192", "Żółć^Ewa", "ISO_IR 192"),
    ],
)
def test_a_match_is_told_in_the_character_set_of_the_query_where_that_can_say_it(
    asked: str, name: str, told: str | None
) -> None:
    values = {"SpecificCharacterSet": asked} if asked else {}
    query = read_query(encoded(QueryRetrieveLevel="STUDY", PatientName="", **values), IMPLICIT)
    found = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]}}
    match = decoded(encode_match(query, found, "IMEX", IMPLICIT), IMPLICIT)
    assert match.get("SpecificCharacterSet") == told
    match.decode()
    assert str(match.PatientName) == name


@each_syntax
def test_a_value_that_cannot_be_written_is_left_out(syntax: str) -> None:
    query = Query("IMAGE", (), ("00200013", "00080060", "00280010"), ignored=False)
    found = {
        "00200013": {"vr": "IS", "Value": ["eleven"]},
        "00280010": {"vr": "US", "Value": [70_000]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
    }
    match = decoded(encode_match(query, found, "IMEX", syntax), syntax)
    assert (match.InstanceNumber, match.Rows, match.Modality) == (None, None, "CT")


@each_syntax
def test_a_list_of_what_failed_fits_into_its_element(syntax: str) -> None:
    uids = [f"2.25.{n:059}" for n in range(5000)]
    told = decoded(encode_failed(uids, syntax), syntax).FailedSOPInstanceUIDList
    assert list(told) == uids[: len(told)]
    assert len(told) == 900
