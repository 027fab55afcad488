"""The state machine's table against pynetdicom's copy of PS3.8 table 9-10, and its two open choices."""

import pytest
from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE

from imex.dimse.state import TABLE, Action, Event, InvalidTransition, State, step

CELLS = {
    (State(int(state.removeprefix("Sta"))), Event(int(event.removeprefix("Evt")))): name
    for (event, state), name in TRANSITION_TABLE.items()
}


def test_the_table_has_the_cells_of_the_standard() -> None:
    assert {cell: action.name.replace("_", "-") for cell, action in TABLE.items()} == CELLS


@pytest.mark.parametrize(("state", "event"), sorted(CELLS))
def test_each_cell_leads_to_the_state_of_the_standard(state: State, event: Event) -> None:
    after = ACTIONS[CELLS[state, event]][2]
    allowed = {after} if isinstance(after, str) else set(after)
    for requestor in (True, False):
        for acceptable in (True, False):
            _, following = step(state, event, requestor=requestor, acceptable=acceptable)
            assert f"Sta{following.value}" in allowed


@pytest.mark.parametrize(("state", "event"), [(s, e) for s in State for e in Event if (s, e) not in CELLS])
def test_a_blank_cell_is_refused(state: State, event: Event) -> None:
    with pytest.raises(InvalidTransition):
        step(state, event, requestor=False)


def test_a_request_that_cannot_be_accepted_waits_for_the_peer_to_close() -> None:
    for acceptable, following in (
        (True, State.AWAITING_LOCAL_ASSOCIATE_RESPONSE),
        (False, State.AWAITING_CLOSE),
    ):
        assert step(
            State.AWAITING_ASSOCIATE_RQ, Event.ASSOCIATE_RQ, requestor=False, acceptable=acceptable
        ) == (Action.AE_6, following)


def test_a_release_collision_depends_on_the_side() -> None:
    for requestor, following in (
        (True, State.COLLISION_REQUESTOR_LOCAL),
        (False, State.COLLISION_ACCEPTOR_PEER),
    ):
        assert step(State.AWAITING_RELEASE_RP, Event.RELEASE_RQ, requestor=requestor) == (
            Action.AR_8,
            following,
        )
