"""The portal's pure parts: words, cursors, forms, and what balances."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.events.shares import ShareState
from imex.portal.auth.forms import FormTokens
from imex.portal.pages import words
from imex.portal.problems import Problem
from imex.portal.queries import cursors
from imex.portal.reconcile import Acknowledged, balance, unjudged

NOW = datetime(2026, 6, 10, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (NOW, "today at 1:00pm"),
        (datetime(2026, 6, 9, 23, 30, tzinfo=UTC), "today at 12:30am"),
        (datetime(2026, 6, 9, 11, 5, tzinfo=UTC), "yesterday at 12:05pm"),
        (datetime(2026, 3, 5, 14, 30, tzinfo=UTC), "5 March at 2:30pm"),
        (datetime(2025, 3, 5, 14, 30, tzinfo=UTC), "5 March 2025 at 2:30pm"),
    ],
)
def test_times_are_said_as_people_say_them_in_the_uk(moment: datetime, said: str) -> None:
    assert words.when(moment, NOW) == said


def test_every_state_has_words() -> None:
    assert set(words.STATES) == set(ShareState.__args__)  # type: ignore[attr-defined]


def test_unknown_steps_and_odd_dates_still_read() -> None:
    assert words.step_words("went_by_pigeon") == "Went by pigeon"
    assert words.day("20260305") == "5 March 2026"
    assert words.day("") == ""
    assert words.size(63_200_000) == "63.2 MB"
    assert words.images(1) == "1 image"


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_cursor_comes_back_as_it_went(moment: datetime, identifier: UUID) -> None:
    cursor = cursors.encode(moment.isoformat(), str(identifier))
    assert cursors.moment_and_id(cursor) == (moment, identifier)


@given(st.text(max_size=60))
def test_whatever_is_sent_as_a_cursor_is_refused_in_words(text: str) -> None:
    with pytest.raises(Problem) as refused:
        cursors.moment_and_id(text)
    assert refused.value.status_code == 400


def test_a_form_belongs_to_one_browser_and_a_view_to_one_person() -> None:
    forms = FormTokens("a secret of more than 32 characters")
    browser = forms.new_browser()
    assert forms.valid(browser, forms.issue(browser))
    assert not forms.valid("another", forms.issue(browser))
    assert not forms.valid("", forms.issue(""))
    assert not forms.valid(browser, "é")
    view = forms.view("person", "share")
    assert forms.is_view(view, "person", "share")
    assert not forms.is_view(view, "other", "share")
    assert not forms.is_view("nonsense", "person", "share")


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "delivered",
                "under way",
                "unaddressed",
                "failed",
                "backlog",
                "quarantined",
                "discarded",
                "refused",
                "cancelled",
                "expired",
                "unaccounted",
            ]
        ),
        st.integers(0, 1000),
    )
)
def test_the_classes_add_up_exactly_when_nothing_is_missing(counts: dict[str, int]) -> None:
    found = balance(counts, [], duplicates=0)
    total = found.delivered + found.waiting + found.quarantined + found.refused + found.expired
    assert found.balanced == (found.acknowledged == total)


def test_a_record_that_was_set_aside_is_not_lost() -> None:
    first, second, third = uuid4(), uuid4(), uuid4()
    acknowledged = Acknowledged(
        {
            first: (("instances.bulk", 0, 1), ("RQM", "1.1", "a"), "1"),
            second: (("instances.bulk", 0, 2), ("RQM", "1.2", "b"), "1"),
            third: (("instances.bulk", 1, 1), ("RQM", "1.3", "c"), "1"),
        }
    )
    pending, lost = unjudged(acknowledged, {second}, {second}, set())
    assert [one.sop_instance_uid for one in lost] == ["1.1"]
    assert pending == {("RQM", "1.3", "c")}, "nothing later of its partition has been judged"
    pending, lost = unjudged(acknowledged, {second}, {second}, {("instances.bulk", 0, 1)})
    assert lost == []
    pending, lost = unjudged(acknowledged, {second}, set(), set())
    assert lost == [], "what was judged just now proves nothing"


def test_a_moment_without_its_zone_is_no_cursor() -> None:
    with pytest.raises(Problem):
        cursors.moment((NOW + timedelta(days=1)).replace(tzinfo=None).isoformat())
