"""How long an intake waits while a stream runs."""

from hypothesis import given
from hypothesis import strategies as st

from imex.runtime.pace import Pace


def test_nothing_waits_after_a_quiet_time() -> None:
    assert Pace(0.2).pause_s(10.0) == 0.0


def test_what_comes_behind_the_first_record_shares_a_batch() -> None:
    pace = Pace(0.2)

    pace.taken(1, now=10.0)

    assert pace.pause_s(10.0) == 0.04


def test_a_stream_is_looked_at_less_often_the_faster_it_runs() -> None:
    slow, fast = Pace(0.2), Pace(0.2)

    slow.taken(20, now=10.0)
    fast.taken(40, now=10.0)

    assert 0.0 < slow.pause_s(10.1) < fast.pause_s(10.1) <= 0.2


def test_a_stream_that_has_ended_is_forgotten_after_a_second() -> None:
    pace = Pace(0.2)
    pace.taken(500, now=10.0)

    assert pace.pause_s(10.9) == 0.2
    assert pace.pause_s(11.1) == 0.0


def test_a_cap_of_nothing_never_pauses() -> None:
    pace = Pace(0.0)
    pace.taken(500, now=10.0)

    assert pace.pause_s(10.0) == 0.0


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 1000)), max_size=30), st.floats(0, 10))
def test_no_stream_adds_more_than_the_cap(steps: list[tuple[float, int]], cap_s: float) -> None:
    pace, now = Pace(cap_s), 0.0
    for after, records in steps:
        now += after
        pace.taken(records, now)
        assert 0.0 <= pace.pause_s(now) <= cap_s
