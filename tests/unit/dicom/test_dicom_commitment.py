"""Requests and reports of storage commitments, written and read (PS3.4 annex J)."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from imex.dicom import commitment
from imex.dicom.commitment import FailureReason, NoRequest, Reference, TooMuch

CT = "1.2.840.10008.5.1.4.1.1.2"
uids = st.integers(1, 10**12).map(lambda number: f"2.25.{number}")
references = st.lists(st.builds(Reference, st.just(CT), uids), unique=True, min_size=1, max_size=5)


@given(uids, references, st.sampled_from(commitment.TRANSFER_SYNTAXES))
def test_a_request_is_read_as_it_was_written(transaction: str, wanted: list[Reference], syntax: str) -> None:
    data = commitment.encoded(commitment.request_dataset(transaction, wanted), syntax)
    request = commitment.Request(transaction, tuple(wanted))
    assert commitment.requested(data, syntax, len(wanted)) == request
    with pytest.raises(TooMuch):
        commitment.requested(data, syntax, len(wanted) - 1)


@given(uids, references, references, st.sampled_from(commitment.TRANSFER_SYNTAXES))
def test_a_report_is_read_as_it_was_written(
    transaction: str, first: list[Reference], second: list[Reference], syntax: str
) -> None:
    committed = [one for one in first if one not in second]
    failed = [(one, FailureReason.NO_SUCH_OBJECT_INSTANCE) for one in second]
    data = commitment.encoded(commitment.report_dataset(transaction, committed, failed), syntax)
    report = commitment.report_of(commitment.decoded(data, syntax))
    assert report is not None
    assert report.transaction_uid == transaction
    assert list(report.committed) == [one.sop_instance_uid for one in committed]
    assert report.refused == {one.sop_instance_uid: 0x0112 for one in second}


def test_a_reference_counts_once() -> None:
    asked = commitment.request_dataset("2.25.1", [Reference(CT, "1.2.3"), Reference(CT, "1.2.3")])
    assert commitment.request_of(asked).references == (Reference(CT, "1.2.3"),)


def test_what_is_not_asked_about_is_not_looked_at() -> None:
    asked = commitment.request_dataset("2.25.1", [Reference(CT, "1.2.3")])
    data = commitment.encoded(asked, commitment.EXPLICIT_LITTLE_ENDIAN) + b"\x09\x00\x01\x00SQ no sequence"
    assert commitment.requested(data, commitment.EXPLICIT_LITTLE_ENDIAN, 1).transaction_uid == "2.25.1"


def test_empty_sequences_are_left_out() -> None:
    assert "FailedSOPSequence" not in commitment.report_dataset("2.25.1", [Reference(CT, "1.2.3")], [])
    all_failed = commitment.report_dataset(
        "2.25.1", [], [(Reference(CT, "1.2.3"), FailureReason.PROCESSING_FAILURE)]
    )
    assert "ReferencedSOPSequence" not in all_failed


@pytest.mark.parametrize("lacks", ["transaction", "references", "class", "instance"])
def test_a_request_that_lacks_something_is_none(lacks: str) -> None:
    asked = commitment.request_dataset("2.25.1", [Reference(CT, "1.2.3")])
    match lacks:
        case "transaction":
            del asked.TransactionUID
        case "references":
            asked.ReferencedSOPSequence = []
        case "class":
            del asked.ReferencedSOPSequence[0].ReferencedSOPClassUID
        case "instance":
            asked.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "none"
    with pytest.raises(NoRequest):
        commitment.request_of(asked)


@given(st.binary(max_size=200), st.sampled_from(commitment.TRANSFER_SYNTAXES))
def test_whatever_bytes_come_they_are_read_or_refused(data: bytes, syntax: str) -> None:
    with contextlib.suppress(NoRequest):
        commitment.requested(data, syntax, 100)
    with contextlib.suppress(NoRequest):
        commitment.decoded(data, syntax)


def test_who_is_in_both_lists_was_not_committed() -> None:
    both = commitment.report_dataset(
        "2.25.1",
        [Reference(CT, "1.2.3")],
        [(Reference(CT, "1.2.3"), FailureReason.PROCESSING_FAILURE)],
    )
    report = commitment.report_of(both)
    assert report is not None
    assert report.committed == ()
    assert commitment.report_of(Dataset()) is None
