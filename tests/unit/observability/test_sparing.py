"""A few times in each period, and not more."""

from imex.observability.sparing import Sparing


def test_a_few_are_said_in_each_period() -> None:
    sparing = Sparing(at_most=3, period_s=3600)
    assert [sparing() for _ in range(5)] == [True, True, True, False, False]


def test_the_next_period_begins_anew() -> None:
    sparing = Sparing(at_most=1, period_s=-1)
    assert [sparing() for _ in range(3)] == [True, True, True]
