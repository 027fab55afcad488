"""The registry of failures, when they strike, and what the simulated PACS answers about itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.simulation.failures import FAILURES, UnknownFailure, failures_of, named
from imex.simulation.misbehaviour import Misbehaviour


def test_every_failure_has_one_name_and_says_what_it_does_and_what_is_expected() -> None:
    names = [one.name for one in FAILURES]
    assert len(names) == len(set(names))
    for one in FAILURES:
        assert one.does and one.sender and one.types, one.name
        assert not one.does.endswith("."), one.name


def test_an_unknown_failure_names_those_there_are() -> None:
    with pytest.raises(UnknownFailure, match=r"'nonsense' is no failure of a dicom PACS.*abort-after-data"):
        named(["nonsense"], "dicom")
    with pytest.raises(UnknownFailure):
        named(["reject-transient"], "dicomweb")


@given(
    after=st.integers(0, 5),
    times=st.none() | st.integers(1, 5),
    occasions=st.integers(0, 20),
)
def test_a_failure_strikes_after_so_many_occasions_and_so_many_times(
    after: int, times: int | None, occasions: int
) -> None:
    misbehaviour = Misbehaviour(named(["lose", "reject-limit"], "dicom"), after=after, times=times)
    struck = ["lose" in misbehaviour.occasion("instance") for _ in range(occasions)]
    end = occasions if times is None else after + times
    assert struck == [after <= number < end for number in range(occasions)]
    assert misbehaviour.struck["reject-limit"] == 0  # its occasions are counted apart


def test_it_can_be_told_otherwise_while_it_runs() -> None:
    misbehaviour = Misbehaviour(named(["lose"], "dicom"))
    assert "lose" in misbehaviour.occasion("instance")
    misbehaviour.tell(())
    assert misbehaviour.occasion("instance") == {}
    assert misbehaviour.struck == {}


def test_each_type_has_what_a_joining_site_meets() -> None:
    dicom = {one.name for one in failures_of("dicom")}
    web = {one.name for one in failures_of("dicomweb")}
    assert {"reject-permanent", "status-a700", "abort-after-data", "lose", "slow-reader"} <= dicom
    assert {"unauthorised", "too-many", "some-failed", "empty-answer", "close-after-data", "lose"} <= web
