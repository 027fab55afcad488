"""Which earlier studies travel along."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.directory import Priors
from imex.sharing.decisions import Addressed
from imex.sharing.model import Study
from imex.sharing.passage import passed_through
from imex.sharing.priors import Earlier, along, choose, day_of

TODAY = date(2026, 5, 4)


def earlier(uid: str, days: int, *modalities: str) -> Earlier:
    return Earlier(uid, TODAY - timedelta(days=days), frozenset(modalities))


CURRENT = earlier("1.1", 0, "CT", "SR")
KNOWN = [
    CURRENT,
    earlier("1.2", 30, "CT"),
    earlier("1.3", 400, "CT", "PT"),
    earlier("1.4", 5, "MR"),
    earlier("1.5", 2, "SR"),
    earlier("1.6", -3, "CT"),
    earlier("1.7", 4000, "CT"),
]


@pytest.mark.parametrize(
    ("priors", "chosen"),
    [
        ({"count": 5}, ["1.2", "1.3"]),
        ({"count": 1}, ["1.2"]),
        ({"count": 5, "within_days": 365}, ["1.2"]),
        ({"count": 3, "modality": "any"}, ["1.5", "1.4", "1.2"]),
        ({"count": 5, "modality": ["MR", "PT"]}, ["1.4", "1.3"]),
        ({"count": 5, "within_days": 36500}, ["1.2", "1.3", "1.7"]),
    ],
)
def test_the_newest_that_fit_travel_along(priors: dict[str, object], chosen: list[str]) -> None:
    assert [one.study_uid for one in choose(Priors.model_validate(priors), CURRENT, KNOWN)] == chosen


def test_a_report_alone_takes_along_what_it_has_in_common() -> None:
    found = choose(Priors(count=5), earlier("1.9", 0, "SR"), KNOWN)
    assert [one.study_uid for one in found] == ["1.1", "1.5"]


@given(st.permutations(KNOWN), st.integers(1, 6))
def test_the_choice_does_not_depend_on_the_order_in_which_studies_are_known(
    known: list[Earlier], count: int
) -> None:
    priors = Priors(count=count, modality="any")
    assert choose(priors, CURRENT, known) == choose(priors, CURRENT, KNOWN)
    assert CURRENT not in choose(priors, CURRENT, known)


@pytest.mark.parametrize(
    ("written", "day"), [("20260102", date(2026, 1, 2)), ("", TODAY), ("2026", TODAY), ("99999999", TODAY)]
)
def test_the_day_of_a_study_is_its_own_or_that_of_its_arrival(written: str, day: date) -> None:
    at = datetime(2026, 5, 4, 9, tzinfo=UTC)
    study = Study(
        source="RQM",
        study_uid="1.2",
        lane="bulk",
        topic="validations.bulk",
        partition=0,
        first_received_at=at,
        last_activity_at=at,
        seen_at=at,
        study_date=written,
    )
    assert day_of(study) == day


def test_a_prior_has_no_priors_and_is_not_sent_to_whom_has_it() -> None:
    wish = Addressed("RT3", "direct-care", "urgent", "rule", rule="r1", priors=Priors(count=2))
    prior = along(wish)
    assert (prior.recipient, prior.rule, prior.priority) == ("RT3", "r1", "urgent")
    assert prior.priors is None
    assert prior.unless_held


@pytest.mark.parametrize(
    ("source", "legs", "expected"),
    [
        ("A", [], set()),
        ("B", [("A", "B")], {"A"}),
        ("C", [("A", "B"), ("B", "C")], {"A", "B"}),
        ("A", [("A", "B"), ("B", "C"), ("C", "A")], {"B", "C"}),
        ("D", [("A", "B"), ("B", "C")], set()),
        ("C", [("A", "C"), ("B", "C"), ("C", "D")], {"A", "B"}),
    ],
)
def test_a_study_has_passed_through_all_whom_it_came_from(
    source: str, legs: list[tuple[str, str]], expected: set[str]
) -> None:
    assert passed_through(source, legs) == expected
