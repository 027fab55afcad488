"""What the status of a STOW-RS response means, of all or of each instance."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.delivery.decide import Verdict
from imex.delivery.targets import CannotDeliver
from imex.delivery.targets.dicomweb.judging import Smaller, judge
from imex.delivery.targets.dicomweb.web import Answered

LISTED = json.dumps(
    {
        "00081199": {"Value": [{"00081155": {"Value": ["1"]}}]},
        "00081198": {"Value": [{"00081155": {"Value": ["2"]}, "00081197": {"Value": [0xA900]}}]},
    }
).encode()


def answered(status: int, body: bytes = b"", **headers: str) -> Answered:
    return Answered(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize("status", [200, 202, 400, 409, 413, 415, 422])
def test_what_a_response_names_is_as_it_says_and_the_rest_in_doubt(status: int) -> None:
    found = judge(answered(status, LISTED), ["1", "2", "3"])
    verdicts = {uid: one.answer.verdict for uid, one in found.items()}
    assert verdicts == {"1": Verdict.CONFIRMED, "2": Verdict.FAILED, "3": Verdict.UNSURE}
    assert [one.named for one in found.values()] == [True, True, False]


@pytest.mark.parametrize("status", [200, 202])
def test_a_status_alone_confirms_nothing(status: int) -> None:
    for body in (b"", b"  ", b"{}"):
        found = judge(answered(status, body), ["1", "2"])
        assert {one.answer.verdict for one in found.values()} == {Verdict.UNSURE}
    with pytest.raises(CannotDeliver, match="is it a DICOMweb server") as raised:
        judge(answered(status, b"<html>Welcome</html>"), ["1"])
    assert raised.value.in_doubt


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
def test_what_may_be_about_one_of_several_is_sent_again_in_smaller_requests(status: int) -> None:
    for body in (b"", LISTED):
        with pytest.raises(Smaller):
            judge(answered(status, body), ["7", "8"])
    [one] = judge(answered(status), ["7"]).values()
    assert one.answer.verdict is Verdict.FAILED
    assert str(status) in one.answer.reason


@pytest.mark.parametrize(
    ("status", "words", "lasting", "in_doubt"),
    [
        (301, "redirects", True, False),
        (308, "redirects", True, False),
        (401, "401 unauthorised", True, False),
        (403, "403 forbidden", True, False),
        (404, "there is no STOW-RS at this URL", True, False),
        (405, "there is no STOW-RS at this URL", True, False),
        (406, "to everything that was tried", True, False),
        (408, "408", False, True),
        (429, "429 too many requests", False, False),
        (500, "500 server error", False, True),
        (501, "there is no STOW-RS at this URL", True, False),
        (503, "503 service unavailable", False, False),
        (507, "507 insufficient storage", False, False),
        (599, "599 server error", False, True),
    ],
)
def test_what_is_about_all_is_told_once(status: int, words: str, lasting: bool, in_doubt: bool) -> None:
    with pytest.raises(CannotDeliver, match=words) as raised:
        judge(answered(status, LISTED, Retry_After="7"), ["1"])
    assert (raised.value.lasting, raised.value.in_doubt) == (lasting, in_doubt)
    assert raised.value.again_after == (7.0 if status in {429, 500, 503, 507, 408, 599} else 0.0)


@given(st.integers(min_value=100, max_value=599), st.sampled_from([b"", b"{}", b"<x/>", LISTED]))
def test_only_who_is_named_as_stored_is_stored(status: int, body: bytes) -> None:
    try:
        found = judge(answered(status, body), ["1", "2", "3"])
    except (CannotDeliver, Smaller):
        return
    confirmed = {uid for uid, one in found.items() if one.answer.verdict is Verdict.CONFIRMED}
    assert confirmed <= ({"1"} if body == LISTED else set())


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("12", 12.0), ("99999999999", 3600.0), ("-3", 0.0), ("soon", 0.0), ("", 0.0), ("²", 0.0)],
)
def test_a_retry_after_is_bounded_whatever_it_says(header: str, seconds: float) -> None:
    assert answered(503, Retry_After=header).again_after == seconds


def test_a_retry_after_may_be_a_date() -> None:
    assert answered(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT").again_after == 0.0
    assert answered(503, Retry_After="Wed, 21 Oct 2099 07:28:00 GMT").again_after == 3600.0
