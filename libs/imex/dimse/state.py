"""The upper layer's state machine: PS3.8 table 9-10, as pure data.

`TABLE` reads like the standard's: one row per event, one column per state, a dot where the standard has a
blank cell. `step` looks a cell up and says which state its action leads to; the caller carries it out.
"""

from enum import IntEnum, StrEnum


class State(IntEnum):
    """PS3.8 tables 9-1 to 9-5."""

    IDLE = 1
    AWAITING_ASSOCIATE_RQ = 2
    AWAITING_LOCAL_ASSOCIATE_RESPONSE = 3
    AWAITING_TRANSPORT = 4
    AWAITING_ASSOCIATE_AC = 5
    ESTABLISHED = 6
    AWAITING_RELEASE_RP = 7
    AWAITING_LOCAL_RELEASE_RESPONSE = 8
    COLLISION_REQUESTOR_LOCAL = 9
    COLLISION_ACCEPTOR_PEER = 10
    COLLISION_REQUESTOR_PEER = 11
    COLLISION_ACCEPTOR_LOCAL = 12
    AWAITING_CLOSE = 13


class Event(IntEnum):
    """The rows of PS3.8 table 9-10; (local) is a primitive of this side's user."""

    ASSOCIATE_REQUEST = 1  # (local)
    TRANSPORT_CONFIRMED = 2
    ASSOCIATE_AC = 3
    ASSOCIATE_RJ = 4
    TRANSPORT_INDICATED = 5
    ASSOCIATE_RQ = 6
    ACCEPT = 7  # (local)
    REJECT = 8  # (local)
    DATA_REQUEST = 9  # (local)
    DATA_TF = 10
    RELEASE_REQUEST = 11  # (local)
    RELEASE_RQ = 12
    RELEASE_RP = 13
    RELEASE_RESPONSE = 14  # (local)
    ABORT_REQUEST = 15  # (local)
    ABORT = 16
    TRANSPORT_CLOSED = 17
    ARTIM_EXPIRED = 18
    INVALID_PDU = 19


class Action(StrEnum):
    """PS3.8 tables 9-6 to 9-9."""

    AE_1 = "issue transport connect request"
    AE_2 = "send A-ASSOCIATE-RQ"
    AE_3 = "confirm the association as accepted"
    AE_4 = "confirm the association as rejected, close"
    AE_5 = "start ARTIM"
    AE_6 = "stop ARTIM; indicate the A-ASSOCIATE, or send A-ASSOCIATE-RJ and start ARTIM"
    AE_7 = "send A-ASSOCIATE-AC"
    AE_8 = "send A-ASSOCIATE-RJ, start ARTIM"
    DT_1 = "send P-DATA-TF"
    DT_2 = "indicate P-DATA"
    AR_1 = "send A-RELEASE-RQ"
    AR_2 = "indicate A-RELEASE"
    AR_3 = "confirm A-RELEASE, close"
    AR_4 = "send A-RELEASE-RP, start ARTIM"
    AR_5 = "stop ARTIM"
    AR_6 = "indicate P-DATA (while releasing)"
    AR_7 = "send P-DATA-TF (while being released)"
    AR_8 = "indicate A-RELEASE (collision)"
    AR_9 = "send A-RELEASE-RP"
    AR_10 = "confirm A-RELEASE"
    AA_1 = "send A-ABORT (service user), restart ARTIM"
    AA_2 = "stop ARTIM, close"
    AA_3 = "indicate A-ABORT, close"
    AA_4 = "indicate A-P-ABORT"
    AA_5 = "stop ARTIM (nothing to indicate)"
    AA_6 = "ignore the PDU"
    AA_7 = "send A-ABORT"
    AA_8 = "send A-ABORT (service provider), indicate A-P-ABORT, start ARTIM"


_NEXT = {
    Action.AE_1: 4, Action.AE_2: 5, Action.AE_3: 6, Action.AE_4: 1, Action.AE_5: 2, Action.AE_7: 6,
    Action.AE_8: 13, Action.DT_1: 6, Action.DT_2: 6, Action.AR_1: 7, Action.AR_2: 8, Action.AR_3: 1,
    Action.AR_4: 13, Action.AR_5: 1, Action.AR_6: 7, Action.AR_7: 8, Action.AR_9: 11, Action.AR_10: 12,
    Action.AA_1: 13, Action.AA_2: 1, Action.AA_3: 1, Action.AA_4: 1, Action.AA_5: 1, Action.AA_6: 13,
    Action.AA_7: 13, Action.AA_8: 13,
}  # fmt: skip

_ROWS = """
Event  Sta1  Sta2  Sta3  Sta4  Sta5  Sta6  Sta7  Sta8  Sta9  Sta10 Sta11 Sta12 Sta13
1      AE-1  .     .     .     .     .     .     .     .     .     .     .     .
2      .     .     .     AE-2  .     .     .     .     .     .     .     .     .
3      .     AA-1  AA-8  .     AE-3  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
4      .     AA-1  AA-8  .     AE-4  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
5      AE-5  .     .     .     .     .     .     .     .     .     .     .     .
6      .     AE-6  AA-8  .     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
7      .     .     AE-7  .     .     .     .     .     .     .     .     .     .
8      .     .     AE-8  .     .     .     .     .     .     .     .     .     .
9      .     .     .     .     .     DT-1  .     AR-7  .     .     .     .     .
10     .     AA-1  AA-8  .     AA-8  DT-2  AR-6  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
11     .     .     .     .     .     AR-1  .     .     .     .     .     .     .
12     .     AA-1  AA-8  .     AA-8  AR-2  AR-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
13     .     AA-1  AA-8  .     AA-8  AA-8  AR-3  AA-8  AA-8  AR-10 AR-3  AA-8  AA-6
14     .     .     .     .     .     .     .     AR-4  AR-9  .     .     AR-4  .
15     .     .     AA-1  AA-2  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  .
16     .     AA-2  AA-3  .     AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-2
17     .     AA-5  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AR-5
18     .     AA-2  .     .     .     .     .     .     .     .     .     .     AA-2
19     .     AA-1  AA-8  .     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
"""


def _parse(rows: str) -> dict[tuple[State, Event], Action]:
    table = {}
    for row in rows.strip().splitlines()[1:]:
        number, *cells = row.split()
        for state, cell in zip(State, cells, strict=True):
            if cell != ".":
                table[state, Event(int(number))] = Action[cell.replace("-", "_")]
    return table


TABLE = _parse(_ROWS)


class InvalidTransition(Exception):
    """A blank cell of the table: this side's user asked for what the state does not allow."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"{event.name} is not possible in state {state.name}")


def step(state: State, event: Event, *, requestor: bool, acceptable: bool = True) -> tuple[Action, State]:
    """Return the action for `event` in `state` and the state that follows.

    `requestor` decides a release collision (AR-8); `acceptable` says whether the provider can accept the
    A-ASSOCIATE-RQ at all (AE-6). Raises InvalidTransition for a blank cell.
    """
    action = TABLE.get((state, event))
    if action is None:
        raise InvalidTransition(state, event)
    if action is Action.AE_6:
        return action, State.AWAITING_LOCAL_ASSOCIATE_RESPONSE if acceptable else State.AWAITING_CLOSE
    if action is Action.AR_8:
        return action, State.COLLISION_REQUESTOR_LOCAL if requestor else State.COLLISION_ACCEPTOR_PEER
    return action, State(_NEXT[action])
