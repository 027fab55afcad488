"""Delivery's decisions as examples, and what holds of them always."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.delivery import decide
from imex.delivery.decide import (
    BREAKER_DELIVERIES,
    PRIORITIES,
    Answer,
    Failing,
    PoolLimits,
    Tally,
    Verdict,
    backoff,
    final_outcome,
    free_slots,
    judge_status,
    next_attempt_at,
    next_failing,
    next_step,
    probe_wait,
    settled,
    summary,
)
from imex.events import Priority

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
failures = st.integers(min_value=1, max_value=100_000)
spans = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=14))
draws = st.floats(min_value=0, max_value=1, exclude_max=True)


@given(failures, spans, draws)
def test_a_wait_is_at_most_a_minute_in_the_first_hour_and_half_an_hour_ever(
    count: int, failing_for: timedelta, draw: float
) -> None:
    wait = backoff(count, failing_for, draw)
    assert timedelta(seconds=1) <= wait <= timedelta(minutes=30)
    if failing_for < HOUR:
        assert wait <= timedelta(seconds=60)


@given(failures, spans, spans, draws)
def test_waits_grow_with_failures_and_with_time(
    count: int, one: timedelta, other: timedelta, draw: float
) -> None:
    shorter, longer = sorted((one, other))
    assert backoff(count, shorter, draw) <= backoff(count, longer, draw)
    assert backoff(count, shorter, draw) <= backoff(count + 1, shorter, draw)


@given(failures, spans, draws)
def test_deliveries_that_take_turns_at_probing_wait_a_minute_at_most_in_the_first_hour(
    count: int, failing_for: timedelta, draw: float
) -> None:
    wait = probe_wait(count, failing_for, draw)
    assert timedelta(seconds=1) <= wait <= timedelta(minutes=30)
    if failing_for < HOUR:
        assert wait * BREAKER_DELIVERIES <= timedelta(seconds=60)
        for turns in range(4, 41):
            assert probe_wait(count, failing_for, draw, turns) * turns <= timedelta(seconds=55)
        assert probe_wait(count, failing_for, draw, 10_000) >= timedelta(seconds=1)
    assert probe_wait(count, failing_for, draw) <= probe_wait(count + 1, failing_for, draw)


def test_the_first_waits_are_short() -> None:
    assert [probe_wait(count, timedelta(0), 0).total_seconds() for count in range(1, 6)] == [2, 4, 8, 15, 15]
    waits = [backoff(count, timedelta(0), 0).total_seconds() for count in range(1, 8)]
    assert waits == [2, 4, 8, 15, 30, 45, 45]


@given(failures, spans, draws)
def test_a_next_attempt_is_in_the_future_and_not_beyond_the_expiry(
    count: int, failing_for: timedelta, draw: float
) -> None:
    expires = NOW + timedelta(minutes=10)
    at = next_attempt_at(Failing(count, NOW - failing_for), now=NOW, expires_at=expires, draw=draw)
    assert NOW <= at <= expires


def test_what_fails_for_two_weeks_is_tried_several_hundred_times() -> None:
    at, failing, attempts = NOW, Failing(), 0
    while at < NOW + decide.LIFETIME:
        attempts += 1
        failing = next_failing(failing, now=at, progressed=False)
        at = next_attempt_at(failing, now=at, expires_at=NOW + decide.LIFETIME, draw=0.5)
    assert 500 < attempts < 2000


def test_progress_begins_the_count_anew() -> None:
    assert next_failing(Failing(7, NOW - HOUR), now=NOW, progressed=True) == Failing(1, NOW)
    assert next_failing(Failing(7, NOW - HOUR), now=NOW, progressed=False) == Failing(8, NOW - HOUR)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (0x0000, Verdict.CONFIRMED),
        (0xB000, Verdict.CONFIRMED),
        (0xB006, Verdict.CONFIRMED),
        (0xB007, Verdict.CONFIRMED),
        (0xA700, Verdict.RETRY),
        (0xA701, Verdict.RETRY),
        (0x0110, Verdict.RETRY),
        (0x0122, Verdict.FAILED),
        (0x0124, Verdict.FAILED),
        (0xA900, Verdict.FAILED),
        (0xC000, Verdict.FAILED),
        (0xC123, Verdict.FAILED),
        (0xFFFF, Verdict.FAILED),
    ],
)
def test_statuses(status: int, verdict: Verdict) -> None:
    answer = judge_status(status, "words of the status")
    assert answer.verdict is verdict
    assert answer.status == f"0x{status:04X}"
    assert answer.full == (status >> 8 == 0xA7)
    assert ("words of the status" in answer.reason) == (status != 0)


@given(st.integers(0, 0xFFFF))
def test_only_success_and_warnings_count_as_confirmed(status: int) -> None:
    confirmed = judge_status(status, "").verdict is Verdict.CONFIRMED
    assert confirmed == (status in {0x0000, 0x0001, 0x0107, 0x0116} or 0xB000 <= status <= 0xBFFF)


FULL = Answer(Verdict.RETRY, "0xA700", "A700 out of resources", full=True)
LOST = Answer(Verdict.RETRY, "", "association aborted by the peer")
TROUBLE = Answer(Verdict.RETRY, "0x0110", "0110 processing failure")


@pytest.mark.parametrize("answer", [FULL, LOST, judge_status(0, ""), judge_status(0xA900, "")])
def test_a_full_or_flapping_destination_never_makes_an_instance_fail(answer: Answer) -> None:
    assert settled(answer, sent_before=1000, failing_for=timedelta(days=13)) == answer


def test_an_instance_that_alone_gives_trouble_is_given_up_after_an_hour() -> None:
    assert settled(TROUBLE, sent_before=50, failing_for=timedelta(minutes=59)) == TROUBLE
    assert settled(TROUBLE, sent_before=3, failing_for=timedelta(days=1)) == TROUBLE
    given_up = settled(TROUBLE, sent_before=4, failing_for=HOUR)
    assert given_up.verdict is Verdict.FAILED
    assert given_up.reason == "given up after 5 times: 0110 processing failure"


def tally(**facts: object) -> Tally:
    known = {
        "waiting": 0, "confirmed": 3, "failed": 0, "parts_come": 1, "parts": 1,
        "revision": 1, "receipt_revision": 0, "receipt_due": True,
    }  # fmt: skip
    return Tally(**(known | facts))  # type: ignore[arg-type]


def test_the_next_step_of_a_delivery() -> None:
    assert next_step(tally(waiting=1)) == "send"
    assert next_step(tally()) == "complete"
    assert next_step(tally(parts=2)) == "wait"
    assert next_step(tally(parts=None)) == "wait"
    assert next_step(tally(receipt_due=False)) == "wait"


@given(st.integers(0, 9), st.integers(0, 9))
def test_receipts_only_get_higher_revisions(manifest: int, receipt: int) -> None:
    revision = tally(revision=manifest, receipt_revision=receipt).next_receipt
    assert revision > receipt
    assert revision >= manifest


def test_final_outcomes() -> None:
    assert final_outcome(tally()) == "delivered"
    assert final_outcome(tally(failed=1)) == "partial"
    assert final_outcome(tally(failed=1, confirmed=0)) == "failed"


def test_the_summary_names_the_most_frequent_reasons() -> None:
    assert summary([], 0) == ""
    assert summary([("b", 1), ("a", 1), ("c", 5), ("d", 1)], 8) == (
        "8 not delivered: 5 × c; 1 × a; 1 × b; and 1 other reasons"
    )


LIMITS = PoolLimits(10, 3, 5, urgent_reserve=2, routine_reserve=1, destination_reserve=1)
counts = st.integers(0, 12)


@given(counts, counts, counts, counts, st.integers(1, 20))
def test_places_are_kept_for_each_priority_and_the_destinations_limit_holds(
    emergencies: int, urgent: int, routine: int, there: int, allowed: int
) -> None:
    running: dict[Priority, int] = {"emergency": emergencies, "urgent": urgent, "routine": routine}
    total = sum(running.values())
    free = {
        priority: free_slots(
            LIMITS, running=running, running_there=there, allowed_there=allowed, priority=priority
        )
        for priority in PRIORITIES
    }
    for count in free.values():
        assert count == 0 or (total + count <= 10 and there + count <= min(5, allowed))
    if count := free["routine"]:
        assert 10 - total - count >= 3 - emergencies, "the rest of the emergencies' places stays free"
        assert 10 - total - count >= 5 - emergencies - urgent, "and what is urgent has its own besides"
        if min(5, allowed) > 2:
            assert there + count < min(5, allowed), "one association is left for what is more urgent"
    if count := free["urgent"]:
        assert 10 - total - count >= 3 - emergencies
    if count := free["emergency"]:
        assert 10 - total - count >= 1 - routine, "one place is left for what is routine"


def test_slow_destinations_do_not_hold_the_places_of_one_that_has_none() -> None:
    def free(routine: int, there: int) -> int:
        return free_slots(
            LIMITS,
            running={"routine": routine},
            running_there=there,
            allowed_there=2,
            priority="routine",
        )

    assert (free(0, 0), free(1, 1)) == (2, 1)
    assert (free(3, 1), free(3, 0)) == (0, 1)
    assert (free(4, 1), free(4, 0)) == (0, 1)
    assert free(5, 0) == 0


def test_emergencies_without_end_leave_a_place_to_what_is_routine() -> None:
    def free(priority: Priority, routine: int, emergencies: int) -> int:
        return free_slots(
            LIMITS,
            running={"routine": routine, "emergency": emergencies},
            running_there=0,
            allowed_there=5,
            priority=priority,
        )

    assert (free("emergency", 0, 9), free("routine", 0, 9)) == (0, 1)
    assert (free("emergency", 1, 8), free("routine", 1, 9)) == (1, 0)
