"""Media types, statements between services, and the answer to a store transaction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from imex.dicomweb import outcome
from imex.dicomweb.media import accepted, json_wanted, media_type
from imex.dicomweb.outcome import PartOutcome, StowOutcome, store_instances_response
from imex.dicomweb.statement import Statement, StatementReader, StatementRefused, sign

SECRET = "a secret of more than thirty-two characters"
RELATED = 'multipart/related; type="application/dicom"; boundary="a;b"'
CLAIMED = Statement("RQM", "t1", "1.2.3", RELATED)


def test_media_types_are_read_with_their_quoted_parameters() -> None:
    kind = media_type(RELATED)
    assert (kind.name, kind.part, kind.parameters["boundary"]) == (
        "multipart/related",
        "application/dicom",
        "a;b",
    )
    assert media_type("nonsense").name == ""


@given(st.text(max_size=200))
def test_no_header_breaks_them(text: str) -> None:
    media_type(text)
    accepted(text)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", True),
        ("*/*", True),
        ("application/dicom+json", True),
        ("application/json;q=0.5, text/html", True),
        ("application/dicom+xml", False),
        ("application/dicom+json;q=0", False),
    ],
)
def test_whether_json_will_do(header: str, wanted: bool) -> None:
    assert json_wanted(header) is wanted


def test_what_is_wanted_most_comes_first() -> None:
    names = [each.name for each in accepted('a/b;q=0.1, multipart/related; type="x,y", c/d;q=0.5')]
    assert names == ["multipart/related", "c/d", "a/b"]


def test_a_statement_is_believed_once_for_its_own_request() -> None:
    reader, encoded = StatementReader(SECRET), sign(CLAIMED, SECRET, 1000.0)
    assert reader.read(encoded, "1.2.3", RELATED, 1001.0) == CLAIMED
    with pytest.raises(StatementRefused, match="used before"):
        reader.read(encoded, "1.2.3", RELATED, 1001.0)


@pytest.mark.parametrize(
    ("study", "content_type", "now", "words"),
    [
        ("1.2.4", RELATED, 1000.0, "another request"),
        ("", RELATED, 1000.0, "another request"),
        ("1.2.3", "application/dicom", 1000.0, "another request"),
        ("1.2.3", RELATED, 1040.0, "too old"),
        ("1.2.3", RELATED, 900.0, "clocks"),
    ],
)
def test_a_statement_is_good_for_nothing_else(study: str, content_type: str, now: float, words: str) -> None:
    with pytest.raises(StatementRefused, match=words):
        StatementReader(SECRET).read(sign(CLAIMED, SECRET, 1000.0), study, content_type, now)


def test_who_has_another_secret_is_not_believed() -> None:
    with pytest.raises(StatementRefused, match="shared secret"):
        StatementReader(SECRET).read(sign(CLAIMED, SECRET[::-1], 1000.0), "1.2.3", RELATED, 1000.0)


def test_an_unsigned_statement_is_not_believed() -> None:
    # {"alg":"none"} and the claims of RQM
    encoded = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJSUU0ifQ."
    with pytest.raises(StatementRefused):
        StatementReader(SECRET).read(encoded, "1.2.3", RELATED, 1000.0)


def part(number: int, status: int) -> PartOutcome:
    return PartOutcome(part=number, status=status, sop_class_uid="1.2", sop_instance_uid=f"1.2.{number}")


@pytest.mark.parametrize(
    ("statuses", "http"),
    [
        ([0, 0], 200),
        ([0, outcome.NOT_UNDERSTOOD], 202),
        ([0, outcome.OUT_OF_RESOURCES], 202),
        ([outcome.NOT_UNDERSTOOD, outcome.CLASS_NOT_SUPPORTED], 400),
        ([outcome.OTHER_STUDY], 400),
        ([outcome.CLASS_NOT_SUPPORTED], 409),
        ([outcome.OUT_OF_RESOURCES, outcome.NOT_UNDERSTOOD], 503),
    ],
)
def test_the_status_says_what_to_do_next(statuses: list[int], http: int) -> None:
    parts = tuple(part(number, status) for number, status in enumerate(statuses, 1))
    assert StowOutcome(parts=parts).http_status == http


def test_the_answer_is_dicom_json_that_names_each_instance() -> None:
    told = StowOutcome(parts=(part(1, 0), part(2, outcome.OTHER_STUDY), PartOutcome(part=3, status=0xC000)))
    answer = Dataset.from_json(
        store_instances_response(told, "https://x/studies/1", lambda part: f"https://x/{part.part}")
    )
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == ["1.2.1"]
    assert answer.ReferencedSOPSequence[0].RetrieveURL == "https://x/1"
    assert [item.FailureReason for item in answer.FailedSOPSequence] == [0xA901, 0xC000]
    assert answer.FailedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.2"
    assert answer.FailedSOPSequence[1].ErrorComment.startswith("part 3")
