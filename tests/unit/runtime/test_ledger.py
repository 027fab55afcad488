"""The offset ledger: what may be committed, and what has been read through."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from imex.runtime.ledger import Ledger


def begun(*offsets: int) -> Ledger:
    ledger = Ledger()
    for offset in offsets:
        ledger.begin(offset, offset * 1000)
    return ledger


def test_nothing_read_means_nothing_to_commit() -> None:
    assert Ledger().to_commit() is None
    assert Ledger().done_through_ms is None


def test_the_lowest_unfinished_offset_is_committed() -> None:
    ledger = begun(5, 6, 7)
    ledger.done(6)
    assert ledger.to_commit() == 5
    ledger.done(5)
    assert ledger.to_commit() == 7
    ledger.done(7)
    assert ledger.to_commit() == 8


def test_offsets_may_have_gaps() -> None:
    ledger = begun(5, 9)
    ledger.done(5)
    assert ledger.to_commit() == 9
    ledger.done(9)
    assert ledger.to_commit() == 10


def test_the_same_offset_is_not_committed_twice() -> None:
    ledger = begun(5)
    ledger.committed(5)
    assert ledger.to_commit() is None
    ledger.done(5)
    assert ledger.to_commit() == 6


def test_read_through_stays_below_the_oldest_open_record() -> None:
    ledger = Ledger()
    for offset, at in enumerate([100, 90, 200]):
        ledger.begin(offset, at)
    assert ledger.done_through_ms == 89
    ledger.done(1)
    assert ledger.done_through_ms == 99
    ledger.done(0)
    ledger.done(2)
    assert ledger.done_through_ms == 200


@given(st.sets(st.integers(0, 200), min_size=1), st.randoms())
def test_a_commit_never_passes_unfinished_work_and_never_goes_back(offsets: set[int], random: Random) -> None:
    order = sorted(offsets)
    ledger = begun(*order)
    shuffled = list(order)
    random.shuffle(shuffled)
    open_offsets = set(order)
    last = -1
    for offset in shuffled:
        ledger.done(offset)
        open_offsets.discard(offset)
        commit = ledger.to_commit()
        if commit is not None:
            assert commit >= last
            assert not any(each < commit for each in open_offsets)
            ledger.committed(commit)
            last = commit
    assert last == order[-1] + 1
    assert ledger.unfinished == 0
