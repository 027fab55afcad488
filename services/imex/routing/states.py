"""The life cycle of a share as a table: state × fact → state. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import get_args

from imex.events.shares import FINAL_STATES, ShareState

STATES: tuple[ShareState, ...] = get_args(ShareState)

SETTLED_STATES: frozenset[ShareState] = FINAL_STATES | {"delivered", "partial"}
"""States in which nothing is under way: the passage of the study has ended for this share."""


class Fact(StrEnum):
    """What can happen to a share."""

    COVERED = "an agreement covers it, and nobody need be asked"
    UNCOVERED = "no agreement covers it"
    DECLINED = "the recipient does not want it"
    COLLECT = "its instances are awaited"
    HANDED = "instances were handed to delivery"
    WHOLE = "every instance received is confirmed"
    SHORT = "all that can be is confirmed, and something is missing"
    MORE = "a late or released instance came"
    GIVEN_UP = "it could not be delivered"
    TIMED_OUT = "its time ran out"
    CALLED_OFF = "it was called off"
    TAKEN_BACK = "it was taken back"
    RESUMED = "a person had tried again what had failed"


_BEFORE_THE_END: Mapping[Fact, ShareState] = {
    Fact.GIVEN_UP: "failed",
    Fact.TIMED_OUT: "expired",
    Fact.CALLED_OFF: "cancelled",
    Fact.TAKEN_BACK: "revoked",
}

_TABLE: Mapping[ShareState, Mapping[Fact, ShareState]] = {
    "requested": {
        # nothing of it is with delivery, so that there is nothing to give up, and nothing to try again
        **{fact: end for fact, end in _BEFORE_THE_END.items() if fact is not Fact.GIVEN_UP},
        Fact.COVERED: "accepted",
        Fact.UNCOVERED: "refused",
        Fact.DECLINED: "refused",
    },
    "accepted": {**_BEFORE_THE_END, Fact.UNCOVERED: "refused", Fact.COLLECT: "collecting"},
    "collecting": {
        **_BEFORE_THE_END,
        Fact.UNCOVERED: "refused",
        Fact.HANDED: "delivering",
        # everything received is held: there is nothing to hand over
        Fact.SHORT: "partial",
    },
    # what was all held is partial, and goes on, before anything of it has left
    "delivering": {
        **_BEFORE_THE_END,
        Fact.UNCOVERED: "refused",
        Fact.WHOLE: "delivered",
        Fact.SHORT: "partial",
    },
    "partial": {
        **_BEFORE_THE_END,
        Fact.UNCOVERED: "refused",
        Fact.WHOLE: "delivered",
        Fact.MORE: "delivering",
        Fact.RESUMED: "delivering",
    },
    "delivered": {Fact.SHORT: "partial", Fact.MORE: "delivering", Fact.TAKEN_BACK: "revoked"},
    "refused": {},
    # the one end that is left: delivery tries again when a person says so, unless it may not any more
    "failed": {Fact.RESUMED: "delivering", Fact.TAKEN_BACK: "revoked"},
    "cancelled": {},
    "revoked": {},
    "expired": {},
}


def transition(state: ShareState, fact: Fact) -> ShareState | None:
    """The state after `fact`; None where the fact means nothing in this state and is to be ignored."""
    return _TABLE[state].get(fact)
