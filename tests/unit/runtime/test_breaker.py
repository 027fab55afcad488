"""The circuit breaker."""

from imex.runtime.breaker import Breaker


def test_it_opens_at_the_limit_within_the_window() -> None:
    breaker = Breaker(limit=3, window_s=10)
    assert [breaker.failure(at) for at in (0.0, 1.0, 2.0)] == [False, False, True]
    assert breaker.opened


def test_a_success_between_ends_the_run() -> None:
    breaker = Breaker(limit=2, window_s=10)
    breaker.failure(0.0)
    breaker.success()
    assert not breaker.failure(1.0)


def test_failures_far_apart_are_no_run() -> None:
    breaker = Breaker(limit=2, window_s=10)
    breaker.failure(0.0)
    assert not breaker.failure(11.0)


def test_it_stays_open() -> None:
    breaker = Breaker(limit=1, window_s=10)
    breaker.failure(0.0)
    breaker.success()
    assert breaker.opened
