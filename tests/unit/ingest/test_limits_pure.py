"""The shared limits' decisions: the ledger, the shares, and whether an association may come in."""

import random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.directory import DirectoryIndex, parse
from imex.events import Event
from imex.events.capacity import (
    CapacityClaimed,
    CapacityClaimedData,
    CapacityReleased,
    CapacityReleasedData,
    CapacityReported,
    CapacityReportedData,
    InstitutionUse,
)
from imex.ingest.limits.admission import Count, Step, judge, judge_alone
from imex.ingest.limits.bounds import Bounds, BoundsTable
from imex.ingest.limits.ledger import DOUBT, Ledger, Verdict
from imex.ingest.limits.shares import entitlement, fair, part, rate_of

A, B, C = (UUID(int=n) for n in (1, 2, 3))
EXPIRE_S = 10.0


def claim(
    process: UUID,
    number: int = 1,
    code: str = "RQM",
    *,
    limit: int = 0,
    own: int = 0,
    taken: bool = False,
    through: int = -1,
) -> CapacityClaimed:
    data = CapacityClaimedData(
        process=process,
        read_through=through,
        claim=number,
        institution=code,
        taken=taken,
        limit=limit,
        institution_limit=own,
    )
    return CapacityClaimed.of(id=UUID(int=9), subject="p", data=data)


def release(process: UUID, number: int = 1, code: str = "RQM") -> CapacityReleased:
    data = CapacityReleasedData(process=process, read_through=-1, claim=number, institution=code)
    return CapacityReleased.of(id=UUID(int=9), subject="p", data=data)


def report(
    process: UUID, through: int, held: dict[str, int] | None = None, *, rate: int = 0, leaving: bool = False
) -> CapacityReported:
    uses = tuple(
        InstitutionUse(code=code, associations=n, bytes_per_s=rate) for code, n in (held or {}).items()
    )
    data = CapacityReportedData(process=process, read_through=through, institutions=uses, leaving=leaving)
    return CapacityReported.of(id=UUID(int=9), subject="p", data=data)


class Log:
    """Records in order, and readers of them."""

    def __init__(self) -> None:
        self.ledger = Ledger(EXPIRE_S)
        self.offset = -1

    def say(self, event: Event[Any], at: float = 0.0) -> Verdict | None:
        self.offset += 1
        return self.ledger.apply(self.offset, at, event)


def test_the_place_in_the_topic_decides() -> None:
    log = Log()
    verdicts = [log.say(claim(process, n, limit=4)) for n in (1, 2) for process in (A, B, C)]
    assert verdicts == [Verdict.GRANTED] * 4 + [Verdict.EVERYBODY_FULL] * 2
    assert log.ledger.total == 4
    log.say(release(A))
    assert log.say(claim(C, 3, limit=4)) is Verdict.GRANTED


def test_an_institution_has_a_limit_of_its_own() -> None:
    log = Log()
    assert log.say(claim(A, 1, "RQM", limit=8, own=1)) is Verdict.GRANTED
    assert log.say(claim(B, 1, "RQM", limit=8, own=1)) is Verdict.INSTITUTION_FULL
    assert log.say(claim(B, 2, "RT3", limit=8, own=1)) is Verdict.GRANTED
    assert (log.ledger.institution("RQM"), log.ledger.institution("RT3")) == (1, 1)


def test_what_was_taken_counts_even_beyond_the_limit() -> None:
    log = Log()
    log.say(claim(A, 1, limit=1, taken=True))
    assert log.say(claim(B, 1, limit=1, taken=True)) is Verdict.EVERYBODY_FULL
    assert log.ledger.total == 2


def test_a_process_that_is_not_heard_loses_its_claims_on_the_brokers_clock() -> None:
    log = Log()
    log.say(claim(A, limit=1), at=100.0)
    log.say(report(B, -1), at=105.0)
    assert log.say(claim(B, 1, limit=1), at=110.0) is Verdict.EVERYBODY_FULL
    assert log.say(claim(B, 2, limit=1), at=110.1) is Verdict.GRANTED
    assert log.ledger.live == (B,)


def test_a_process_that_leaves_holds_nothing_at_once() -> None:
    log = Log()
    log.say(claim(A, limit=1))
    log.say(report(A, 0, leaving=True))
    assert (log.ledger.total, log.ledger.live) == (0, ())


def test_a_report_says_what_was_held_as_of_what_had_been_read() -> None:
    late = Ledger(EXPIRE_S)  # begins in the middle: it never saw the first two claims
    late.apply(12, 0.0, claim(A, 3))
    late.apply(13, 0.0, report(A, 11, {"RQM": 2}))
    assert late.total == 3
    late.apply(14, 0.0, report(A, 13, {"RQM": 3}))
    assert late.total == 3


def test_a_place_that_somebody_may_have_taken_is_given_later() -> None:
    log = Log()
    for process in (A, B):
        log.say(report(process, -1))
    for number in range(4):
        assert log.say(claim(A, number, limit=20, taken=True)) is Verdict.GRANTED
    assert not log.ledger.is_open("")  # 4 held, and both may be taking 8 each
    closed_at = log.offset
    for number in range(4, 12):
        assert log.say(claim(A, number, limit=20)) is Verdict.GRANTED
    assert log.say(claim(A, 12, limit=20)) is Verdict.LATER  # 12 held, and B may have taken 8
    log.say(report(B, closed_at - 1))
    assert log.say(claim(A, 13, limit=20)) is Verdict.LATER
    log.say(report(B, closed_at))
    assert log.say(claim(A, 14, limit=20)) is Verdict.GRANTED


@given(
    st.integers(1, 60),
    st.lists(
        st.tuples(st.sampled_from([A, B, C]), st.sampled_from("tarrs"), st.integers(0, 9)), max_size=200
    ),
)
def test_taking_at_once_never_passes_the_limit_however_far_readers_lag(
    limit: int, steps: list[tuple[UUID, str, int]]
) -> None:
    """Each process takes and asks by its own, older, view of the log; records arrive in some order."""
    records: list[Event[Any]] = [report(process, -1) for process in (A, B, C)]
    judge_of_all = Ledger(EXPIRE_S)
    for offset, event in enumerate(records):
        judge_of_all.apply(offset, 0.0, event)
    views = {process: Ledger(EXPIRE_S) for process in (A, B, C)}
    unsaid: dict[UUID, list[int]] = {A: [], B: [], C: []}  # offsets of takes that are not read back

    def append(event: Event[Any]) -> None:
        judge_of_all.apply(len(records), 0.0, event)
        records.append(event)

    for number, (process, what, count) in enumerate(steps):
        view = views[process]
        if what == "r":  # reads on
            for offset in range(view.position + 1, min(view.position + 1 + count, len(records))):
                view.apply(offset, 0.0, records[offset])
            unsaid[process] = [offset for offset in unsaid[process] if offset > view.position]
        elif what == "s":
            append(report(process, view.position, {"RQM": view.held(process)["RQM"]}))
        elif what == "t" and len(view.live) == 3:
            doubt = len(unsaid[process])
            mine = Count(limit, view.total, 0, doubt, view.is_open(""))
            if judge(mine, Count(0, 0), 3) is Step.TAKE:
                unsaid[process].append(len(records))
                append(claim(process, number, limit=limit, taken=True, through=view.position))
        elif what == "a":
            append(claim(process, number, limit=limit, through=view.position))
        assert judge_of_all.total <= limit


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([A, B, C]),
        st.sampled_from(["RQM", "RT3"]),
        st.sampled_from(["claim", "release", "report"]),
        st.floats(0, 3),
    ),
    max_size=60,
)


@given(EVENTS, st.integers(1, 5), st.integers(1, 5))
def test_no_limit_is_passed_and_every_reader_agrees(steps: list[Any], limit: int, own: int) -> None:
    ledger, other = Ledger(EXPIRE_S), Ledger(EXPIRE_S)
    held: dict[UUID, list[tuple[int, str]]] = {A: [], B: [], C: []}
    heard: dict[UUID, float] = {}
    at, number = 0.0, 0
    for offset, (process, code, kind, pause) in enumerate(steps):
        event: Event[Any]
        at += pause
        if at - heard.get(process, at) > EXPIRE_S:
            held[process] = []  # it was taken for dead
        heard[process] = at
        match kind:
            case "claim":
                number += 1
                asked = claim(process, number, code, limit=limit, own=own)
                if (verdict := ledger.apply(offset, at, asked)) is Verdict.GRANTED:
                    held[process].append((number, code))
                assert other.apply(offset, at, asked) is verdict
                continue
            case "release" if held[process]:
                event = release(process, *held[process].pop())
            case _:
                codes = [code for _, code in held[process]]
                event = report(process, offset - 1, {code: codes.count(code) for code in codes})
        ledger.apply(offset, at, event)
        other.apply(offset, at, event)
        assert ledger.total <= limit
        assert all(ledger.institution(one) <= own for one in ("RQM", "RT3"))
        assert (ledger.total, ledger.live) == (other.total, other.live)
        live = [len(held[one]) for one in ledger.live]
        assert ledger.total == sum(live)


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
def test_shares_are_fair_and_never_sum_to_more_than_the_limit(limit: int, demands: list[int]) -> None:
    shares = fair(limit, demands)
    assert sum(shares) <= limit
    for mine, wanted in zip(shares, demands, strict=True):
        assert mine >= min(wanted, limit // len(demands))
    if sum(demands) <= limit:
        assert all(mine >= wanted for mine, wanted in zip(shares, demands, strict=True))
        assert limit - sum(shares) < len(demands)


@given(
    st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(0, 2000)), min_size=6, max_size=40),
    st.integers(0, 3000),
    st.randoms(),
)
def test_readers_within_two_seconds_of_each_other_never_use_more_than_the_limit(
    reports: list[Any], limit: int, rng: random.Random
) -> None:
    ledger, states = Ledger(EXPIRE_S), []
    for offset, (process, rate) in enumerate([(A, 0), (B, 0), (C, 0), *reports]):
        ledger.apply(offset, offset * 0.25, report(process, -1, {"RQM": 0}, rate=rate))
        states.append((int(offset * 0.25), ledger.epochs, ledger.live))
    for _ in range(20):
        newest = rng.randrange(len(states))
        near = [state for state in states if 0 <= states[newest][0] - state[0] <= 2]
        read = {process: rng.choice(near) for process in (A, B, C)}
        if any(len(state[2]) < 3 for state in read.values()):
            continue  # before all had begun
        used = [
            entitlement(epochs, live, process, limit, rate_of())
            for process, (_, epochs, live) in read.items()
        ]
        assert sum(used) <= limit


def test_a_process_that_is_alone_is_entitled_to_everything_and_a_new_one_waits_its_turn() -> None:
    log = Log()
    log.say(report(A, -1), at=0.5)

    def entitled(process: UUID) -> int:
        ledger = log.ledger
        return entitlement(ledger.epochs, ledger.live, process, 100, rate_of())

    assert entitled(A) == 100
    log.say(report(B, 0), at=1.5)
    assert entitled(B) == 0
    for second in range(2, 6):
        log.say(report(A, 0), at=second + 0.5)
    assert (entitled(A), entitled(B)) == (50, 50)


@pytest.mark.parametrize(
    ("everybody", "institution", "live", "step"),
    [
        (Count(0, 500), Count(0, 500), 4, Step.TAKE),
        (Count(100, 0), Count(50, 0), 4, Step.TAKE),
        (Count(4, 0), Count(0, 0), 4, Step.ASK),
        (Count(100, 69), Count(0, 0), 1, Step.TAKE),
        (Count(100, 76), Count(0, 0), 1, Step.ASK),
        (Count(100, 0, doubt=DOUBT), Count(0, 0), 1, Step.ASK),
        (Count(100, 100), Count(50, 2), 1, Step.EVERYBODY_FULL),
        (Count(100, 100), Count(50, 50), 1, Step.INSTITUTION_FULL),
    ],
)
def test_far_below_the_limit_nobody_is_asked(
    everybody: Count, institution: Count, live: int, step: Step
) -> None:
    assert judge(everybody, institution, live) is step


@given(st.integers(1, 50), st.lists(st.integers(0, 20), min_size=1, max_size=6))
def test_processes_that_decide_alone_stay_within_the_limit_together(limit: int, held: list[int]) -> None:
    used = min(sum(held), limit)
    held = held if sum(held) <= limit else [part(limit, len(held), rank) for rank in range(len(held))]
    in_all = 0
    for rank, own in enumerate(held):
        count, now = Count(limit, used, own), own
        while judge_alone(count, Count(0, 0), Count(0, now), len(held), rank) is Step.TAKE:
            now += 1
        in_all += now
    assert in_all == limit


def test_an_institution_may_have_limits_in_the_directory() -> None:

    index = DirectoryIndex(
        parse("""
institutions:
  - {code: RQM, name: A, kind: nhs, limits: {max_associations: 3, max_mbps: 8}}
  - {code: RT3, name: B, kind: nhs}
""")
    )
    table = BoundsTable(Bounds(9, 9, 9), Bounds(5, 6, 7), lambda: index)
    assert table.of("RQM") == Bounds(3, 6, 1_000_000)
    assert table.of("RT3") == table.of("unknown") == Bounds(5, 6, 7)
