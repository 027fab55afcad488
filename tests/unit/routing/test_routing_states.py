"""The life cycle of a share: every state meets every fact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.events.shares import FINAL_STATES, ShareState
from imex.routing.states import SETTLED_STATES, STATES, Fact, transition


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("fact", list(Fact))
def test_every_fact_has_an_answer_in_every_state(state: ShareState, fact: Fact) -> None:
    after = transition(state, fact)
    assert after is None or after in STATES


@given(st.lists(st.sampled_from(list(Fact))))
def test_an_ended_share_stays_ended(facts: list[Fact]) -> None:
    for state in FINAL_STATES:
        left = {Fact.RESUMED, Fact.TAKEN_BACK} if state == "failed" else set()
        assert all(transition(state, fact) is None for fact in facts if fact not in left)


def test_only_what_has_failed_can_be_resumed() -> None:
    assert [state for state in STATES if transition(state, Fact.RESUMED)] == ["partial", "failed"]


@given(st.lists(st.sampled_from(list(Fact))))
def test_nothing_is_delivered_that_was_not_accepted(facts: list[Fact]) -> None:
    state: ShareState = "requested"
    seen: list[ShareState] = [state]
    for fact in facts:
        state = transition(state, fact) or state
        seen.append(state)
    if "delivered" in seen or "partial" in seen:
        assert "accepted" in seen
        assert seen.index("accepted") < len(seen)


def test_the_usual_way() -> None:
    state: ShareState = "requested"
    for fact, expected in [
        (Fact.COVERED, "accepted"),
        (Fact.COLLECT, "collecting"),
        (Fact.HANDED, "delivering"),
        (Fact.WHOLE, "delivered"),
        (Fact.MORE, "delivering"),
        (Fact.SHORT, "partial"),
        (Fact.MORE, "delivering"),
        (Fact.WHOLE, "delivered"),
    ]:
        after = transition(state, fact)
        assert after == expected
        state = after


@pytest.mark.parametrize(("state", "fact"), [("delivered", Fact.GIVEN_UP), ("delivered", Fact.TIMED_OUT)])
def test_what_was_delivered_neither_fails_nor_expires(state: ShareState, fact: Fact) -> None:
    assert transition(state, fact) is None


def test_settled_states_are_the_final_ones_and_two_that_can_be_left() -> None:
    assert {"delivered", "partial"} == SETTLED_STATES - FINAL_STATES
