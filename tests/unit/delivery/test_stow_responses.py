"""What responses of STOW-RS say of each instance, in the forms in which servers give them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.delivery.decide import Verdict
from imex.delivery.targets.dicomweb.responses import Listed, judge_listed, read_response, referenced

STORED, FAILED, OTHERS = "00081199", "00081198", "0008119A"
REASONS = {STORED: "00081196", FAILED: "00081197", OTHERS: "00081197"}

uids = st.text("0123456789.", min_size=1, max_size=20)
codes = st.integers(min_value=0, max_value=0xFFFF)


def item(tag: str, uid: str, code: int = 0) -> dict[str, Any]:
    told: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    return told | ({REASONS[tag]: {"vr": "US", "Value": [code]}} if code else {})


def body(**sequences: list[dict[str, Any]]) -> bytes:
    told = {tag.lstrip("t"): {"vr": "SQ", "Value": items} for tag, items in sequences.items()}
    return json.dumps(told).encode()


def as_xml(tag: str, uid: str, code: int) -> str:
    number = f'<DicomAttribute tag="{REASONS[tag]}" vr="US"><Value number="1">{code}</Value></DicomAttribute>'
    name = f'<DicomAttribute tag="00081155" vr="UI"><Value number="1">{uid}</Value></DicomAttribute>'
    return f'<DicomAttribute tag="{tag}" vr="SQ"><Item number="1">{name}{number}</Item></DicomAttribute>'


@given(st.dictionaries(uids, codes, max_size=5), st.dictionaries(uids, codes, max_size=5))
def test_json_and_xml_say_the_same(stored: dict[str, int], failed: dict[str, int]) -> None:
    in_json = body(
        **{
            f"t{STORED}": [item(STORED, uid, code) for uid, code in stored.items()],
            f"t{FAILED}": [item(FAILED, uid, code) for uid, code in failed.items()],
        }
    )
    listed = Listed(stored, failed)
    assert read_response(in_json) == listed
    assert read_response(b"[" + in_json + b"]") == listed
    assert read_response(b"\xef\xbb\xbf\r\n" + in_json) == listed
    attributes = [as_xml(STORED, *one) for one in stored.items()] + [
        as_xml(FAILED, *one) for one in failed.items()
    ]
    namespace = 'xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM"'
    for prefix, space in (("", namespace), ("n:", namespace.replace("xmlns", "xmlns:n"))):
        words = "".join(attributes)
        if prefix:
            words = (
                words.replace("</", "</n:").replace("<D", "<n:D").replace("<I", "<n:I").replace("<V", "<n:V")
            )
        told = f"<{prefix}NativeDicomModel {space}>{words}</{prefix}NativeDicomModel>"
        assert read_response(told.encode()) == listed


@given(st.binary(max_size=200))
def test_whatever_a_server_says_is_read_or_is_no_response(told: bytes) -> None:
    assert isinstance(read_response(told), Listed | None)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([STORED, FAILED, OTHERS, "00081155", "00081197", "Value", "x"]), inner, max_size=3
        )
    ),
    max_leaves=15,
)


@given(values)
def test_any_json_is_read_or_is_no_response(told: object) -> None:
    assert isinstance(read_response(json.dumps(told).encode()), Listed | None)


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"OK",
        b"<html><body>Welcome</body></html>",
        b'{"error": "no such page"}',
        b"[1, 2]",
        b"[]",
        b'<!DOCTYPE x [<!ENTITY a "b">]><NativeDicomModel/>',
        b"<NativeDicomModel>",
        b"<a>" * 40,
        b"[" * 100_000,
    ],
)
def test_what_is_no_response_is_not_taken_for_one(told: bytes) -> None:
    assert not read_response(told)


def test_what_a_code_means_is_said_in_the_standards_words() -> None:
    listed = Listed(
        {"1": 0, "2": 0xB000}, {"3": 0xA700, "4": 0x0110, "5": 0xC122, "6": 0, "7": 0xA900, "8": 0xB007}
    )
    answers = judge_listed(listed, "12345678", answered=202)
    assert [answers[uid].verdict for uid in "12345678"] == [
        *[Verdict.CONFIRMED] * 2,
        *[Verdict.RETRY] * 2,
        *[Verdict.FAILED] * 4,
    ]
    assert answers["2"].reason.startswith("stored with a warning: B000")
    assert answers["3"].full
    assert "C122 transfer syntax not supported" in answers["5"].reason
    assert answers["6"].reason == answers["8"].reason == "refused by the destination, which says no reason"


@given(uids, codes, codes)
def test_who_is_named_twice_has_failed(uid: str, warning: int, failure: int) -> None:
    answers = judge_listed(Listed({uid: warning}, {uid: failure}), [uid], answered=202)
    assert answers[uid].verdict is not Verdict.CONFIRMED


def test_a_failure_that_names_nobody_is_a_lone_instances() -> None:
    listed = Listed(others=[0xA900])
    assert judge_listed(listed, ["1"], answered=202)["1"].verdict is Verdict.FAILED
    assert judge_listed(listed, ["1", "2"], answered=202) == {}
    assert judge_listed(Listed({"9": 0}), ["1"], answered=200) == {}, "another's success is none of ours"


@pytest.mark.parametrize("code", ["99999", "-1", "1e3", "²", "", "A700"])
def test_a_code_that_is_none_is_no_reason(code: str) -> None:
    told = json.dumps({FAILED: {"Value": [{"00081155": {"Value": ["1"]}, "00081197": {"Value": [code]}}]}})
    assert read_response(told.encode()) == Listed(failed={"1": 0})


def test_a_search_names_instances() -> None:
    told = [{"00080018": {"vr": "UI", "Value": ["1.2\0"]}}, {"00080018": {"vr": "UI"}}, {}]
    assert list(referenced(json.dumps(told).encode(), "00080018")) == ["1.2"]
    for other in (b"{}", b"[1]", b"<x/>"):
        with pytest.raises((TypeError, ValueError)):
            list(referenced(other, "00080018"))
